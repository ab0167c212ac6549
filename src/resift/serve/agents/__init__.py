"""Tools for agents: what each of them answers, within a budget of tokens. Knows no protocol."""
