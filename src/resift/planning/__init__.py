"""What an index of any size takes: cores, memory, storage, requests and dollars, by stage.

A calculator: measured unit costs and listed prices in, a plan out. Knows no index and no model.
"""
