"""Prompt sets: how records become chats, and replies become decisions."""
