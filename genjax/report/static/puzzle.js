// Puzzles that a run has solved: shuffle, solve, and exchange two pieces by hand.
for (const figure of document.querySelectorAll("figure.puzzle")) {
  const { grid: [rows, columns], height, width, anyOrder, puzzles } = JSON.parse(figure.dataset.puzzle);
  const count = rows * columns;
  const [tall, wide] = [height / rows, width / columns]; // pixels of a piece
  const numbers = [...Array(count).keys()];
  const [board, sprite, status] = [".board", ".sprite", "[role=status]"].map((s) => figure.querySelector(s));
  const [image, gap, missing] = ["image", "gap", "missing"].map((name) => figure.querySelector(`[data-choice=${name}]`));
  const where = (slot) => `row ${Math.floor(slot / columns) + 1}, column ${(slot % columns) + 1}`;
  const percent = (share) => `${Math.round(100 * share)}\u00a0%`;
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let solution; // the puzzle shown: found, probability and same of its pieces
  let slots = []; // piece in each slot, -1 for none; pieces are numbered by their true positions
  let names = []; // number of each piece in the order given, which tells nothing of its position
  let marked = false; // whether wrong pieces are framed
  let chosen = -1; // slot of the first of two pieces
  let turn = 0;

  board.style.gridTemplateColumns = `repeat(${columns}, 1fr)`;
  board.style.aspectRatio = `${width} / ${height}`;
  const buttons = numbers.map((slot) => {
    const button = document.createElement("button");
    const canvas = document.createElement("canvas");
    const badge = document.createElement("span");
    Object.assign(button, { type: "button", className: "slot" });
    Object.assign(canvas, { width: wide, height: tall });
    badge.className = "badge";
    button.append(canvas, badge);
    button.addEventListener("click", () => choose(slot));
    button.addEventListener("keydown", (event) => move(event, slot));
    board.append(button);
    return button;
  });

  const isRight = (slot) => slots[slot] >= 0 && solution.same[slots[slot]] === solution.same[slot];
  const present = () => slots.filter((piece) => piece >= 0);
  const right = () => numbers.filter(isRight).length;

  function paint(before) {
    const boxes = before && !still.matches && buttons.map((button) => button.getBoundingClientRect());
    const [space, left] = [Number(gap.value), Number(image.value) * width];
    const [edge, lost] = [Math.ceil(space / 2), space];
    buttons.forEach((button, slot) => {
      const [canvas, badge] = button.children;
      const piece = slots[slot];
      const wrong = marked && piece >= 0 && !isRight(slot);
      canvas.getContext("2d").clearRect(0, 0, wide, tall);
      if (piece >= 0) {
        const [x, y] = [left + (piece % columns) * wide + edge, Math.floor(piece / columns) * tall + edge];
        const [w, h] = [wide - lost, tall - lost];
        canvas.getContext("2d").drawImage(sprite, x, y, w, h, edge, edge, w, h);
      }
      const sure = marked && piece >= 0 && solution.found[piece] === slot;
      badge.textContent = sure ? `${wrong ? "\u00d7 " : ""}${percent(solution.probability[piece])}` : wrong ? "\u00d7" : "";
      button.classList.toggle("wrong", wrong);
      button.classList.toggle("empty", piece < 0);
      button.setAttribute("aria-pressed", String(slot === chosen));
      const says = piece < 0 ? ["empty"] : [`piece ${names[piece]}`];
      if (marked && piece >= 0) says.push(wrong ? "wrong" : "right");
      if (sure) says.push(`probability ${percent(solution.probability[piece])}`);
      button.setAttribute("aria-label", `${where(slot)}: ${says.join(", ")}`);
      const from = before ? before.indexOf(piece) : -1;
      if (boxes && piece >= 0 && from >= 0 && from !== slot) {
        const [x, y] = [boxes[from].left - boxes[slot].left, boxes[from].top - boxes[slot].top];
        canvas.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], { duration: 450, easing: "ease-in-out" });
      }
    });
    board.setAttribute("aria-label", `Pieces of image ${Number(image.value) + 1}`);
  }

  function shuffle(before) {
    const [i, g, m] = [image, gap, missing].map((select) => Number(select.value));
    const fitting = puzzles.filter((p) => p[0] === i && p[1] === g && p[2].length === m);
    const [, , gone, order, found, probability, same] = fitting[turn++ % fitting.length];
    solution = { found, probability, same };
    marked = false;
    chosen = -1;
    for (let tries = 0; tries < 20; tries++) {
      slots = anyOrder ? drawn() : [...order];
      slots = slots.map((piece) => (gone.includes(piece) ? -1 : piece));
      if (right() < present().length) break; // else it is the image already
    }
    names = [];
    present().forEach((piece, k) => { names[piece] = k + 1; });
    const left = gone.length ? `; ${gone.length} of ${count} missing` : "";
    status.textContent = `${present().length} pieces, shuffled${left}.`;
    paint(before);
  }

  function drawn() {
    const left = [...numbers];
    return numbers.map(() => left.splice(Math.floor(Math.random() * left.length), 1)[0]);
  }

  function solve() {
    const before = slots;
    slots = numbers.map(() => -1);
    for (const piece of before) if (piece >= 0) slots[solution.found[piece]] = piece;
    marked = true;
    chosen = -1;
    const mean = present().reduce((sum, piece) => sum + solution.probability[piece], 0) / present().length;
    status.textContent = `The run's solution: ${right()} of ${present().length} pieces right, confidence ${percent(mean)}.`;
    paint(before);
  }

  function choose(slot) {
    if (chosen < 0 || chosen === slot) {
      chosen = chosen === slot ? -1 : slot;
      return paint();
    }
    const before = [...slots];
    [slots[chosen], slots[slot]] = [slots[slot], slots[chosen]];
    chosen = -1;
    const [n, all] = [right(), present().length];
    marked ||= n === all;
    status.textContent = n === all ? `All ${all} pieces are right.` : `${n} of ${all} pieces right.`;
    paint(before);
  }

  function move(event, slot) {
    const [row, column] = [Math.floor(slot / columns), slot % columns];
    const [down, across] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] || [0, 0];
    if (event.key === "Escape" && chosen >= 0) { chosen = -1; paint(); }
    if (!down && !across) return;
    event.preventDefault();
    const [r, c] = [row + down, column + across];
    if (r >= 0 && r < rows && c >= 0 && c < columns) buttons[r * columns + c].focus();
  }

  for (const select of [image, gap, missing]) select.addEventListener("input", () => shuffle());
  figure.querySelector("[data-do=shuffle]").addEventListener("click", () => shuffle([...slots]));
  figure.querySelector("[data-do=solve]").addEventListener("click", solve);
  figure.hidden = false;
  sprite.decode().then(() => shuffle());
}
