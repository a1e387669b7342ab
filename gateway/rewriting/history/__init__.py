"""Pieces that are kept of messages that go, and excerpts that come back.

The artifact list: message_snippets.py reads a message into snippets (snippets.py), by prose_snippets.py, definitions.py
and preserved_sentences.py; snippet_reader.py remembers them. placed_snippets.py and speakers.py say where each stands
and who speaks. value_places.py and ranking.py weigh them, artifacts.py chooses, list_text.py writes.

The excerpts: question.py reads what is asked of folded_messages.py, cut by passages.py. warrant.py says how many tokens
it is worth, recall.py chooses, excerpt_text.py writes.
"""
