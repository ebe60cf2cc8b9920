// Interaction: visible runs, sorting, differences, sliders, images at full size.
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
      const values = all("td", row).filter((cell) => shown.has(Number(cell.dataset.run)));
      const differs = new Set(values.map((cell) => cell.dataset.value)).size > 1;
      row.classList.toggle("differs", differs);
      row.hidden = Boolean(only && only.checked && !differs);
    }
    for (const cell of all("#settings-table [data-run]")) cell.hidden = !shown.has(Number(cell.dataset.run));
  }
  if (only) only.addEventListener("change", differences);

  // The legend.
  for (const chip of all(".legend .chip")) {
    chip.addEventListener("click", () => {
      const run = Number(chip.dataset.run);
      if (!shown.delete(run)) shown.add(run);
      chip.setAttribute("aria-pressed", String(shown.has(run)));
      draw();
      differences();
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

  // Grids over the steps. The last one is in the page already.
  for (const article of all("article.run")) {
    const slider = article.querySelector(".by-step input");
    if (!slider) continue;
    const picture = article.querySelector("img.grid");
    const frames = data.frames[Number(article.dataset.run)];
    frames[frames.length - 1].push(picture.src);
    slider.addEventListener("input", () => {
      const [step, source] = frames[Number(slider.value)];
      picture.src = source;
      article.querySelector(".by-step output").textContent = step.toLocaleString("en-US");
      slider.setAttribute("aria-valuetext", `step ${step.toLocaleString("en-US")}`);
    });
  }

  // Two cells of a sheet, one on each side of a line. They change with the grid over the steps.
  for (const figure of all("figure.compare")) {
    const picture = figure.closest("article").querySelector("img.grid");
    const [height, width, gap] = JSON.parse(figure.dataset.layout);
    const [canvas, split, stage] = ["canvas", "input", ".stage"].map((s) => figure.querySelector(s));
    const [left, right, example] = all("select", figure);
    const title = (select) => select.selectedOptions[0].textContent;
    function paint() {
      const context = canvas.getContext("2d");
      const edge = Math.round((width * split.value) / 100);
      const top = gap + Number(example.value) * (height + gap);
      const part = (select, from, to) => {
        const start = gap + Number(select.value) * (width + gap);
        if (to > from) context.drawImage(picture, start + from, top, to - from, height, from, 0, to - from, height);
      };
      part(left, 0, edge);
      part(right, edge, width);
      figure.querySelector(".divider").style.left = `${split.value}%`;
      split.setAttribute("aria-valuetext", `${split.value} % ${title(left)}, the rest ${title(right)}`);
      canvas.setAttribute("aria-label", `Example ${title(example)}: ${title(left)} beside ${title(right)}`);
    }
    const drag = (event) => {
      const box = stage.getBoundingClientRect();
      const share = (event.clientX - box.left) / box.width;
      split.value = Math.round(100 * Math.min(1, Math.max(0, share)));
      paint();
    };
    stage.addEventListener("pointerdown", (event) => { stage.setPointerCapture(event.pointerId); drag(event); });
    stage.addEventListener("pointermove", (event) => { if (event.buttons) drag(event); });
    for (const control of [split, left, right, example]) control.addEventListener("input", paint);
    picture.addEventListener("load", paint);
    figure.hidden = false;
    if (picture.complete) paint();
  }
  for (const button of all("[data-hide=film]")) {
    button.addEventListener("click", () => {
      const picture = button.closest("figure").querySelector(".zoom");
      picture.hidden = !picture.hidden;
      button.textContent = picture.hidden ? "Show" : "Hide";
    });
  }

  // Full size.
  const full = document.getElementById("full");
  for (const button of all(".zoom")) {
    button.addEventListener("click", () => {
      const [large, small] = [full.querySelector("img"), button.querySelector("img")];
      large.src = small.src;
      large.alt = small.alt;
      full.showModal();
    });
  }
  document.getElementById("close").addEventListener("click", () => full.close());
  full.addEventListener("click", (event) => { if (event.target === full) full.close(); });
})();
