"""Policies: whatever answers a chat with a reply. One object acts and reflects."""
