"""What a position's numbers are, and where in an array of work a block of paths has what."""

from __future__ import annotations

BLOCK = 256  # paths, whose work is in the L1 cache
EUROPEAN, ASIAN, GEOMETRIC, BRIDGE_OUT, BRIDGE_IN, DATES_OUT, DATES_IN = range(7)
# The numbers of a position.
NUMBERS = 12
SPOT, STRIKE, EXPIRY, RATE, DIVIDEND, VOLATILITY, VARIANCE, KAPPA, THETA, ETA, RHO, BARRIER = range(NUMBERS)
# Rows of what is computed of each path.
OUTPUTS = 5
VALUE, DELTA, GAMMA, VEGA, CONTROL = range(OUTPUTS)
# Where the rows of draws begin: uniform numbers and normal deviates, and room for two more.
DRAWS = 6 * BLOCK
U, OTHER_U, Z, OTHER_Z, SOME, PLACES = range(0, DRAWS, BLOCK)
# Where those of a state begin: the logarithm x of the price over the spot price and its derivative w by volatility; the
# sums that scores (derivatives of the density's logarithm) are made of; the variance; sums over dates of the price, of
# x and of their derivatives; 1 where no date was beyond the barrier; from PAID on the outputs, as many rows.
STATE = 16 * BLOCK
X, W, SCORE, SPREAD, LIKELY, V, SUM, TANGENT, SUM_X, TANGENT_X, ALIVE, PAID = range(0, 12 * BLOCK, BLOCK)
PAID_VALUE, PAID_DELTA, PAID_GAMMA, PAID_VEGA, PAID_CONTROL = range(PAID, STATE, BLOCK)
