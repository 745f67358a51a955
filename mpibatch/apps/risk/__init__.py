"""Prices, Greeks and losses of a book of options, by Monte Carlo, with the same bits on any number of ranks.

Each position is on an asset whose price S follows, under the pricing measure, with rates r and q per year,

    d ln S = (r − q − V/2) dt + √V dW,     V = σ²,  or  dV = κ (θ − V) dt + η √V dB,  dW dB = ρ dt  (Heston, V(0) = v0),

and its price is the mean of its discounted payoff, a call's (S − K)⁺ or a put's (K − S)⁺: of the price at expiry T, of
arithmetic or geometric means over dates, if a barrier was or was not reached (at dates, or ever), or at the best of
some dates (american). Money, years, and per year or √year throughout; dates are evenly spaced up to expiry.

Scheme: with constant volatility steps from date to date are exact; so is a barrier that is watched all the time, by
the chance that a Brownian bridge stays away from it. Heston's variance takes steps of QE-M (Andersen 2008,
doi:10.21314/JCF.2008.189). American options are exercised by regression on other paths (`regression`), which is worth a
little less than the best rule. Every price has a control of known mean (the asset; of an arithmetic mean the geometric
one; of an American option the European one), with the multiple that its own paths suggest.

Greeks are means over paths, too: derivatives of payoffs, of densities where a payoff jumps and for gamma (P.
Glasserman 2003, doi:10.1007/978-0-387-21617-1, chapter 7). Vega is the derivative by σ, or by √v0 in Heston's model,
and there, for barriers, a difference of values from a little below and above.

Bits: path i of every position has the random numbers of counter (i, step) of Philox; normal deviates, exp and log are
made of + − × ÷ √ and the fused × + alone (`_loops.arithmetic`); sums over paths are exact. So prices depend neither on
the ranks nor on the portions in which paths were added, and a file of exact sums is all that it takes to add more.

In order of dependency: ``_loops`` (compiled), ``positions``, ``estimates``, ``regression``, ``book``, ``scenarios``,
``tails``. Start it with ``python -m mpibatch.apps.risk --help``.
"""
