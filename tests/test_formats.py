"""Tables in Markdown, CSV and LaTeX."""

import re

import pytest
from page_curves import foreign
from synthetic import synthetic_curves

import gainjax
from gainjax import show
from gainjax.cli import main


@pytest.fixture(scope="module")
def curves():
    return synthetic_curves(seeds=6)


@pytest.mark.parametrize("form", ["markdown", "csv", "latex"])
def test_tables_have_formats(curves, form, tmp_path, capsys):
    gainjax.save(curves, tmp_path)
    main(["table", str(tmp_path), "--format", form])
    printed = capsys.readouterr().out
    assert printed == show.formatted(gainjax.load(tmp_path), form)
    assert f"{gainjax.table(curves)['avg_sg'].iloc[0]:.4f}"[:5] in printed
    with pytest.raises(SystemExit):
        main(["table", str(tmp_path), "--format", form, "--json"])


def test_latex_is_escaped_and_balanced():
    names = ["a_b & 50% #1", r"\input{x} ~^", "$x$ {y}"]
    curves = foreign(labels=tuple(names))
    text = show.formatted(curves, "latex")
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") > 0
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == text.count(r"\midrule")
    assert r"a\_b \& 50\% \#1" in text
    assert r"\textbackslash{}input\{x\} \textasciitilde{}\textasciicircum{}" in text
    assert r"\$x\$ \{y\}" in text
    unescaped = re.sub(r"\\[{}]", "", text)
    assert unescaped.count("{") == unescaped.count("}")
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
    lines = [line for line in body.splitlines() if line]
    assert len({len(re.findall(r"(?<!\\)&", line)) for line in lines}) == 1
    assert all(r"\\" in line for line in lines)


def test_names_are_no_markup_in_markdown_and_no_dashes_in_latex():
    names = ["<b>x</b>", "*a* _b_ learning_rate=1", "[l](http://x)", "$x$ |y| `z` &lt;", "a--b"]
    curves = foreign(labels=tuple(names))
    text = show.formatted(curves, "markdown")
    for literal in (
        r"| \<b>x\</b>",
        r"| \*a\* \_b\_ learning_rate=1",
        r"| \[l](http://x)",
        r"| \$x\$ \|y\| \`z\` \&lt;",
        r"**Differences from \<b>x\</b>",
        r"- method - \<b>x\</b>",
    ):
        assert literal in text
    assert "a-{}-b" in show.formatted(curves, "latex")
