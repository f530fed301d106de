"""Which way of closing the stability gap is best, with equal tuning and on equal terms?"""

from experiments.league.claim import claim
from experiments.league.contest import league

__all__ = ["claim", "league"]
