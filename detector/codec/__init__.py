"""Bytes ⇄ columns: decode, encode, snapshot, reasons in words."""
