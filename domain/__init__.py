"""Pure rules of mirroring: values in, values out; no I/O, no clock, no SDK."""
