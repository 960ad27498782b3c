from slugs import slug


def test_a_title_becomes_a_slug():
    assert slug("Crème brûlée, 2 spoons!") == "creme-brulee-2-spoons"
