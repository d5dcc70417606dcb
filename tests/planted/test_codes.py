import math

import numpy as np
import pytest

from interp.planted.codes import position_code, shift


@pytest.mark.parametrize("m", [3, 11, 16])
def test_codes_of_different_positions_are_exactly_orthogonal(m):
    code = position_code(2 * m, m).numpy()
    assert np.abs(code @ code.T - np.eye(2 * m)).max() < 1e-13


def test_a_code_is_what_the_formula_says():
    m, i = 5, 7
    wave = [math.pi * (k - 0.5) / m * i for k in range(1, m + 1)]
    expected = [math.cos(w) / math.sqrt(m) for w in wave]
    expected += [math.sin(w) / math.sqrt(m) for w in wave]
    assert position_code(8, m)[i].tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("lag", [-3, 0, 1, 6])
def test_a_shift_moves_codes_on(lag):
    m = 7
    code = position_code(14, m)
    moved = code @ shift(lag, m)
    for i in range(14):
        if 0 <= i + lag < 14:
            assert (moved[i] - code[i + lag]).abs().max() < 1e-13


def test_beyond_twice_m_positions_meet_their_opposite():
    """Why a board refuses more positions: the code of i + 2m is minus that of i."""
    m = 3
    code = position_code(7, m)
    assert (code[6] + code[0]).abs().max() < 1e-13
