// Interaction: curves, visible runs, sorting, differences.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const data = JSON.parse(document.getElementById("data").textContent);
  const shown = new Set(data.runs.keys());

  // Curves.
  const place = document.getElementById("charts");
  const aside = document.getElementById("aside");
  const draw = () => charts.forEach((chart) => chart.draw());
  const build = (where, metrics) =>
    metrics.map(([name, curves]) => new Chart(where, name, curves, data.runs, shown));
  const charts = [
    ...build(place, data.metrics),
    ...build(aside.querySelector(".charts"), data.aside),
  ];
  aside.hidden = !data.aside.length;
  aside.addEventListener("toggle", draw);
  if (!charts.length) element("p", place, "No run has metrics yet.", "notes");
  draw();
  let width = place.clientWidth;
  new ResizeObserver(() => {
    if (place.clientWidth !== width) { width = place.clientWidth; draw(); }
  }).observe(place);

  // Settings: rows in which the visible runs differ are marked.
  const only = document.getElementById("only-differences");
  function differences() {
    for (const row of all("#settings-table tbody tr")) {
      if (only.dataset.single !== undefined) {
        row.hidden = only.checked && !row.classList.contains("differs");
        continue;
      }
      const values = all("td", row).filter((cell) => shown.has(Number(cell.dataset.run)));
      const differs = new Set(values.map((cell) => cell.dataset.value)).size > 1;
      row.classList.toggle("differs", differs);
      row.hidden = only.checked && !differs;
    }
    for (const cell of all("#settings-table [data-run]")) cell.hidden = !shown.has(Number(cell.dataset.run));
  }
  if (only) {
    only.addEventListener("change", differences);
    differences();
  }

  // The legend.
  for (const chip of all(".legend .chip")) {
    chip.addEventListener("click", () => {
      const run = Number(chip.dataset.run);
      if (!shown.delete(run)) shown.add(run);
      chip.setAttribute("aria-pressed", String(shown.has(run)));
      draw();
      if (only) differences();
    });
  }

  // The table: sorted by number or text, with missing values last.
  const table = document.getElementById("comparison");
  all("thead th", table).forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      const numeric = head.classList.contains("number");
      const key = (row) => row.children[column].dataset.sort;
      const rows = all("tbody tr", table).sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        const order = numeric ? Number(x) - Number(y) : x.localeCompare(y, "en", { numeric: true });
        return up ? order : -order;
      });
      all("thead th", table).forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      table.tBodies[0].append(...rows);
    });
  });
})();
