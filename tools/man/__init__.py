"""What tools/manual makes: manual pages, completions and the schema, of docs/man, of docs/*.md and of the code."""
