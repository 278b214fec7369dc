"""Which objective raises Pass@1 and which Pass@128: the study of docs/reproduction/protocol.md."""
