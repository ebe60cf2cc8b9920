// Figures of runs: grids over the steps, images beside one another, animations, full size.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const data = JSON.parse(document.getElementById("data").textContent);

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
      press();
    });
    // Of networks that grow, a button shows the last grid of its stage.
    const stages = all(".stages button", article);
    function press() {
      const at = stages.find((button) => Number(button.dataset.frame) >= Number(slider.value));
      for (const button of stages) button.setAttribute("aria-pressed", String(button === at));
    }
    for (const button of stages) {
      button.addEventListener("click", () => {
        slider.value = button.dataset.frame;
        slider.dispatchEvent(new Event("input"));
      });
    }
    press();
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
