"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const table = document.getElementById("leaderboard");
  const body = table.tBodies[0];
  all(".controls").forEach((part) => { part.hidden = false; });

  // sorting: rows without a value stay last
  const buttons = all("button.sort", table);
  buttons.forEach((button, column) => button.addEventListener("click", () => {
    const head = button.closest("th");
    const turned = { ascending: "descending", descending: "ascending" };
    const order = turned[head.getAttribute("aria-sort")] ?? button.dataset.first;
    buttons.forEach((other) => other.closest("th").removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const compare = (a, b) => {
      const [x, y] = [a.cells[column], b.cells[column]];
      if (column === 0) return sign * x.textContent.localeCompare(y.textContent, "en", { numeric: true });
      const [p, q] = [x.dataset.value, y.dataset.value];
      return p === "" || q === "" ? (p === "") - (q === "") : sign * (p - q);
    };
    body.append(...[...body.rows].sort(compare));
  }));

  // filters
  const filter = document.getElementById("filter");
  const names = new Map([...body.rows].map((row) => [row.dataset.model, row.cells[0].querySelector("a").textContent.toLowerCase()]));
  const search = () => {
    const wanted = filter.value.trim().toLowerCase();
    all("[data-model]").forEach((part) => { part.hidden = !names.get(part.dataset.model).includes(wanted); });
    const shown = [...body.rows].filter((row) => !row.hidden).length;
    document.getElementById("count").textContent = `${shown} of ${names.size} models`;
  };
  filter.addEventListener("input", search);
  search();
  all("input.group").forEach((box) => {
    const show = () => all(`[data-group="${box.value}"]`, table).forEach((cell) => { cell.hidden = !box.checked; });
    box.addEventListener("change", show);
    show();
  });
  const paper = document.getElementById("paper");
  const compare = () => table.classList.toggle("alone", !paper.checked);
  paper?.addEventListener("change", compare);
  if (paper) compare();

  // the class of the samples
  const classes = all("input[name=class]");
  const choose = () => all(".grids").forEach((part) => { part.hidden = !classes.some((each) => each.checked && each.value === part.dataset.class); });
  classes.forEach((each) => each.addEventListener("change", choose));
  choose();

  // a model opens where a link leads to it
  const open = () => {
    const model = document.getElementById(location.hash.slice(1));
    if (!(model instanceof HTMLDetailsElement)) return;
    model.open = true;
    model.scrollIntoView();
    model.querySelector("summary").focus({ preventScroll: true });
  };
  addEventListener("hashchange", open);
  all('a[href^="#model-"]').forEach((link) => link.addEventListener("click", () => { if (link.hash === location.hash) open(); }));
  open();

  // paper has nothing to click
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = all("details:not([open])");
    closed.forEach((part) => { part.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((part) => { part.open = false; }));
})();
