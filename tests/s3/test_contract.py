"""What every store promises (`tests/base/test_storage.py`) holds on each service of this folder too."""

from tests.base.test_storage import (  # noqa: F401
    test_a_deleted_object_is_gone_from_every_view,
    test_a_file_comes_back_as_it_was_put,
    test_a_list_is_sorted_and_ends_at_the_folder,
    test_a_local_path_follows_an_object_that_was_written_again_with_the_same_size,
    test_bytes_come_back_as_they_were_put,
    test_present_with_the_same_size_is_done_and_overwrite_replaces,
    test_tables_and_ledger_work_the_same_on_both,
    test_the_whole_store_can_be_built_and_verified_on_both,
    test_what_is_absent_is_not_found_and_named,
)
