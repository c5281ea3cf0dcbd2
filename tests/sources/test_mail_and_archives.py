"""A folder of mail and archives through acquisition and the jail: documents inside documents are accounted for."""

from pathlib import Path

import pytest

from datasets_pipeline.acquire import acquire, open_files
from datasets_pipeline.jail import walls
from datasets_pipeline.parallel import InProcessPool
from datasets_pipeline.sources import folder
from ingot.config import NamedConfig
from ingot.errors import ServiceError
from ingot.parquet import read_table
from ingot.storage import Store
from tests.extract.archive_files import tarred, zipped
from tests.extract.mail_files import attached, mail, multipart, plain
from tests.extract.office_files import docx, paragraph


def test_a_zip_with_a_mail_with_a_report_is_read_in_the_jail(tmp_path: Path) -> None:
    try:
        walls.choose(walls.AUTO)
    except ServiceError as error:
        pytest.skip(str(error))
    place = tmp_path / "export"
    (place / "Maildir" / "cur").mkdir(parents=True)
    report = attached("report.docx", docx(paragraph("Slate lasts.")))
    with_report = multipart("mixed", plain("See the report."), report)
    (place / "2024.zip").write_bytes(
        zipped({"mails/1.eml": with_report, "../evil.txt": b"evil", "run.exe": b"\x7fELF"})
    )
    (place / "Maildir" / "cur" / "1709629200.M1P2.host:2,S").write_bytes(mail("Tin rusts."))
    (place / "logs.tar").write_bytes(tarred({"a.txt": b"A log of the night."}))
    (place / "2024.zip.json").write_text('{"classification": "secret"}')
    config = folder.Config(name="export", uri=str(place), sidecar="{path}.json")
    store = Store(str(tmp_path / "store"))
    snapshot = acquire(
        store,
        NamedConfig(kind="source", name="folder", config=config),
        InProcessPool(),
        place=config.uri,
        unit_bytes=1 << 20,
        now="2026-01-01",
    )
    rows = {}
    for file in open_files(store, snapshot):
        table = read_table(store, f"documents/{file.unit}.parquet")
        rows |= {row["uri"]: row for row in table.slice(file.first_row, file.num_rows).to_pylist()}
    assert {uri: row["text"] for uri, row in rows.items()} == {
        "2024.zip!/mails/1.eml": "# Roof\n\nSee the report.",
        "2024.zip!/mails/1.eml!/report.docx": "Slate lasts.",
        "Maildir/cur/1709629200.M1P2.host:2,S": "# Roof\n\nTin rusts.",
        "logs.tar!/a.txt": "A log of the night.",
    }
    child = rows["2024.zip!/mails/1.eml!/report.docx"]  # the mail's date, and what is stated about the zip
    assert (child["stated_date"], child["classification"]) == ("2024-03-05", "secret")
    assert snapshot.counts["read"] == 3 and snapshot.counts["rejected_rows"] == 2
    assert not (tmp_path / "evil.txt").exists()
