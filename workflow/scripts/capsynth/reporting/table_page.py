"""How the page of a table looks, and the script that sorts it."""

STYLE = """
body { max-width: 80rem; }
/* A shadow at the right edge while the table goes on behind it. */
.scroll { overflow-x: auto; background:
    linear-gradient(to left, #fff 1.2rem, #fff0) right / 2.4rem 100% no-repeat local,
    linear-gradient(to left, #c8cdd3, #c8cdd300) right / .9rem 100% no-repeat scroll; }
/* What a row is of stays in sight while its numbers scroll. */
thead tr:last-child th:first-child, td:first-child { position: sticky; left: 0; z-index: 1;
  background: #fff; background-clip: padding-box; }
@media (max-width: 40rem) {
  td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 6rem;
    max-width: 9rem; }
}
table { border-collapse: collapse; border-top: 2px solid #1b1f24; border-bottom: 2px solid #1b1f24;
  font-variant-numeric: tabular-nums; font-size: .9rem; }
th { font-weight: 600; text-align: left; vertical-align: bottom; padding: 0; white-space: nowrap; }
th.group { text-align: center; padding: .35rem .4rem .15rem; color: #57606a; font-size: .85rem; }
th.group span { display: block; border-bottom: 1px solid #c8cdd3; padding-bottom: .15rem; }
thead tr:last-child th { border-bottom: 1px solid #1b1f24; }
th button { all: unset; box-sizing: border-box; position: relative; width: 100%;
  padding: .4rem 1rem .4rem .35rem; cursor: pointer; }
th.number button { text-align: right; }
th button:hover { background: #f0f3f6; }
th button:focus-visible { outline: 2px solid #0072b2; outline-offset: -2px; }
th button::after { content: "\\2195"; color: #b6bdc5; position: absolute; right: .2rem;
  font-size: .8em; line-height: 1.9; }
th[aria-sort=ascending] button::after { content: "\\2191"; color: #0072b2; }
th[aria-sort=descending] button::after { content: "\\2193"; color: #0072b2; }
td { padding: .34rem 1rem .34rem .35rem; white-space: nowrap; }
td.number { text-align: right; }
tbody tr + tr td { border-top: 1px solid #eceff2; }
tbody tr:hover td { background: #f6f8fa; }
td.best { font-weight: 700; }
td.faint { color: #6b727b; }
"""

# Numbers sort from the highest at the first click, names from A; cells without a value stay last.
SCRIPT = """
"use strict";
const table = document.querySelector("table");
const heads = Array.from(table.querySelectorAll("th button"), (button) => button.parentElement);
const body = table.tBodies[0];
heads.forEach((head, column) => {
  head.firstElementChild.addEventListener("click", () => {
    const number = head.classList.contains("number");
    const before = head.getAttribute("aria-sort");
    const first = number ? "descending" : "ascending";
    const other = number ? "ascending" : "descending";
    const order = before === first ? other : first;
    const sign = order === "ascending" ? 1 : -1;
    const value = (row) => row.cells[column].dataset.sort;
    const compare = (a, b) => {
      if (value(a) === undefined || value(b) === undefined)
        return (value(a) === undefined) - (value(b) === undefined);
      return sign * (number ? value(a) - value(b) : value(a).localeCompare(value(b)));
    };
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    body.append(...Array.from(body.rows).sort(compare));
  });
});
"""
