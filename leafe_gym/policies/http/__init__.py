"""What `leafe_gym.policies.openai` is made of: transport, requests, replies, failures, servers."""
