// What a visitor of the gallery moves: the map, images of an atlas, likelihoods of pixels.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // The map: families that can do everything that is pressed.
  const chips = all(".map [data-can].chip");
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true"));
      const wanted = chips.filter((c) => c.getAttribute("aria-pressed") === "true").map((c) => c.dataset.can);
      const fits = (node) => wanted.every((name) => node.dataset.can.split(" ").includes(name));
      const rows = all("#capabilities tbody tr");
      for (const node of [...rows, ...all(".cards li")]) node.hidden = !fits(node);
      for (const part of all("section[data-kind]")) part.hidden = !part.querySelector(".cards li:not([hidden])");
      const left = rows.filter((row) => !row.hidden).length;
      const text = wanted.length ? `${left} of ${rows.length} families can ${wanted.join(" and ")}.` : "";
      document.querySelector(".map [role=status]").textContent = text;
    });
  }

  // Images of an atlas, which controls select.
  for (const figure of all("figure.atlas")) {
    const { shape, height, width, columns, gap, labels, values } = JSON.parse(figure.dataset.atlas);
    const sprite = figure.querySelector(".sprite");
    const controls = all(".controls input, .controls select", figure);
    const corner = (i) => [gap + (i % columns) * (width + gap), gap + Math.floor(i / columns) * (height + gap)];
    const index = (places) => places.reduce((sum, place, axis) => sum * shape[axis] + place, 0);
    const own = Math.min(Math.max(width, labels.length > 1 ? 64 : 180), 320);
    const tiles = labels.map(() => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [width, height];
      canvas.setAttribute("role", "img");
      canvas.style.setProperty("--own", `${own}px`);
      figure.querySelector(".tiles").append(canvas);
      return canvas;
    });
    const plane = figure.querySelector(".plane");
    const [rows, across] = shape.slice(-3, -1); // of the plane: the first latent is to the right
    function paint() {
      const places = controls.map((control) => Number(control.value));
      const words = controls.map((control, axis) => {
        const value = values[axis][places[axis]];
        const output = control.closest("label").querySelector("output");
        if (output) {
          output.textContent = value;
          control.setAttribute("aria-valuetext", value);
        }
        return `${control.closest("label").querySelector("span").firstChild.textContent.trim()} ${value}`;
      });
      tiles.forEach((canvas, i) => {
        canvas.getContext("2d").drawImage(sprite, ...corner(index([...places, i])), width, height, 0, 0, width, height);
        canvas.setAttribute("aria-label", [labels[i], ...words].filter(Boolean).join(", "));
      });
      if (!plane) return;
      [plane.width, plane.height] = [rows * width, across * height];
      const context = plane.getContext("2d");
      const [first, second] = places.slice(-2);
      for (let i = 0; i < rows; i++) {
        for (let j = 0; j < across; j++) {
          const from = corner(index([...places.slice(0, -2), i, j, 0]));
          context.drawImage(sprite, ...from, width, height, i * width, (across - 1 - j) * height, width, height);
        }
      }
      context.strokeStyle = "#ff2d8a";
      const line = (context.lineWidth = Math.max(1, width / 8));
      context.strokeRect(first * width + line / 2, (across - 1 - second) * height + line / 2, width - line, height - line);
      plane.setAttribute("aria-label", `Plane of ${rows} by ${across} images; chosen: ${words.slice(-2).join(", ")}`);
    }
    if (plane) {
      const choose = (event) => {
        const box = plane.getBoundingClientRect();
        const place = (share, n) => Math.min(n - 1, Math.max(0, Math.floor(share * n)));
        const [first, second] = controls.slice(-2);
        first.value = place((event.clientX - box.left) / box.width, rows);
        second.value = place(1 - (event.clientY - box.top) / box.height, across);
        paint();
      };
      plane.addEventListener("pointerdown", (event) => { plane.setPointerCapture(event.pointerId); choose(event); });
      plane.addEventListener("pointermove", (event) => { if (event.buttons) choose(event); });
    }
    for (const control of controls) control.addEventListener("input", paint);
    figure.hidden = false;
    sprite.decode().then(paint);
  }

  // -log p of every pixel beside its image.
  const RAMP = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];
  function colour(share) {
    const at = Math.min(Math.max(share, 0), 1) * (RAMP.length - 1);
    const i = Math.min(Math.floor(at), RAMP.length - 2);
    const mix = RAMP[i].map((low, c) => Math.round(low + (at - i) * (RAMP[i + 1][c] - low)));
    return `rgb(${mix.join()})`;
  }
  for (const figure of all("figure.likelihood")) {
    const { height, width, gap, nats, totals } = JSON.parse(figure.dataset.map);
    const [sprite, image, map, reading, scale, choice] = [".sprite", ".image", ".map", ".reading", ".scale", "select"]
      .map((selector) => figure.querySelector(selector));
    const size = Math.max(1, Math.round(240 / width)); // of a pixel on the canvas
    let at = null;
    for (const canvas of [image, map]) [canvas.width, canvas.height] = [width * size, height * size];
    function paint() {
      const which = Number(choice.value), own = nats[which];
      const high = own.filter((v) => v < 1e9).reduce((a, b) => Math.max(a, b), 1e-9);
      const low = own.reduce((a, b) => Math.min(a, b));
      const picture = image.getContext("2d"), context = map.getContext("2d");
      picture.imageSmoothingEnabled = false;
      picture.drawImage(sprite, gap, gap + which * (height + gap), width, height, 0, 0, image.width, image.height);
      own.forEach((value, i) => {
        context.fillStyle = colour((value - low) / (high - low || 1));
        context.fillRect((i % width) * size, Math.floor(i / width) * size, size, size);
      });
      image.setAttribute("aria-label", `Image ${which + 1}, ${totals[which]}`);
      scale.textContent = `${totals[which]} in all; black ${low.toPrecision(3)}, yellow ${high.toPrecision(3)} nats`;
      if (at === null) return;
      const [row, column] = [Math.floor(at / width), at % width];
      for (const other of [picture, context]) {
        other.strokeStyle = "#2dd4ff";
        other.lineWidth = Math.max(2, size / 5);
        other.strokeRect(column * size, row * size, size, size);
      }
      const value = own[at] >= 1e9 ? "infinite" : own[at].toPrecision(4);
      reading.textContent = `row ${row + 1}, column ${column + 1}: ${value} nats`;
      map.setAttribute("aria-valuenow", at);
      map.setAttribute("aria-valuetext", reading.textContent);
    }
    map.setAttribute("aria-valuemin", 0);
    map.setAttribute("aria-valuemax", height * width - 1);
    map.setAttribute("aria-valuenow", 0);
    const show = (place) => { at = place; paint(); };
    for (const canvas of [image, map]) {
      const point = (event) => {
        const box = canvas.getBoundingClientRect();
        const place = (share, n) => Math.min(n - 1, Math.max(0, Math.floor(share * n)));
        const row = place((event.clientY - box.top) / box.height, height);
        show(row * width + place((event.clientX - box.left) / box.width, width));
      };
      canvas.addEventListener("pointermove", point);
      canvas.addEventListener("pointerdown", point);
    }
    map.addEventListener("focus", () => { if (at === null) show(0); });
    map.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -width, ArrowDown: width }[event.key];
      const to = event.key === "Home" ? 0 : event.key === "End" ? height * width - 1 : step && (at ?? 0) + step;
      if (to === undefined || to < 0 || to >= height * width) return;
      event.preventDefault();
      show(to);
    });
    choice.addEventListener("input", paint);
    figure.hidden = false;
    sprite.decode().then(paint);
  }
})();
