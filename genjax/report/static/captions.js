// Samples beside their captions, cut from the grid above them; they change with the grid.
(() => {
  for (const box of document.querySelectorAll(".captioned")) {
    const { height, width, perCaption, corners, wrong } = JSON.parse(box.dataset.captions);
    const article = box.closest("article");
    const grid = article.querySelector("img.grid");
    const slider = article.querySelector(".by-step input");
    const status = box.querySelector("[role=status]");
    const items = [...box.querySelectorAll("li")].map((item, i) => {
      const [caption, tiles, note] = item.children;
      const samples = corners.slice(i * perCaption, (i + 1) * perCaption).map(([top, left]) => {
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [width, height];
        canvas.setAttribute("role", "img");
        canvas.style.setProperty("--own", `${Math.min(width, 135)}px`);
        tiles.append(canvas);
        return { canvas, top, left };
      });
      return { caption: caption.textContent, samples, note };
    });
    function paint() {
      const now = wrong[slider ? Number(slider.value) : wrong.length - 1];
      const frames = new Set(now);
      let [right, total] = [0, 0];
      items.forEach(({ caption, samples, note }, i) => {
        let here = 0;
        samples.forEach(({ canvas, top, left }, k) => {
          const isWrong = frames.has(i * perCaption + k);
          here += !isWrong;
          canvas.getContext("2d").drawImage(grid, left, top, width, height, 0, 0, width, height);
          canvas.classList.toggle("wrong", isWrong);
          const known = now ? (isWrong ? ", wrong" : ", correct") : "";
          canvas.setAttribute("aria-label", `Sample ${k + 1} of ${caption}${known}`);
        });
        note.textContent = now ? `${here} of ${samples.length} correct` : "";
        right += here;
        total += samples.length;
      });
      status.textContent = now ? `${right} of ${total} samples are correct; the others are framed.` : "";
    }
    // One caption, whose samples are larger, or all.
    const choice = box.querySelector("select");
    choice.addEventListener("input", () => {
      [...box.querySelectorAll("li")].forEach((item, i) => {
        item.hidden = choice.value !== "" && Number(choice.value) !== i;
      });
      box.classList.toggle("one", choice.value !== "");
    });
    grid.addEventListener("load", paint);
    grid.closest(".zoom").hidden = true;
    box.hidden = false;
    if (grid.complete) paint();
  }
})();
