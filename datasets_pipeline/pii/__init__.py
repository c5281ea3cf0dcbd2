"""Personal data and secrets in text: one kind a file, found as byte spans behind one pass over the bytes.

`scan` notes where something could stand, the files of the kinds decide what does, `rules/pii.py` puts them together.
Pure: bytes in, spans out. Precision on real text comes first: a number that many things could be is personal data only
with a word beside it that says so.
"""
