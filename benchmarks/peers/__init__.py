"""This server beside others that turn live audio into text: same machine, same weights, same calls, same clock."""
