// Sets up every CTC playground on the page that is not set up yet. It computes as asrlib.ctc does, in natural logarithms
// and float64; what it shows stands in data attributes in full precision, where a test compares the two.
(() => {
  const BEST = 5; // paths listed
  const KEY_STEP = 0.05; // of a probability
  const DRAG = 140; // pixels from probability 0 to 1
  const BEAT = 800; // milliseconds a frame while playing
  const [ROW, RADIUS] = [44, 19]; // of the trellis, in pixels; ctc_playground.css has them, too
  const [RIGHT, DOWN, ENDS] = [{ ArrowLeft: -1, ArrowRight: 1 }, { ArrowUp: -1, ArrowDown: 1 }, { Home: 0, End: 1 }];

  // ---- CTC ------------------------------------------------------------------------------------------------------------
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  function logSum(values) {
    const most = Math.max(...values);
    return most === -Infinity ? most : most + Math.log(sum(values.map((value) => Math.exp(value - most))));
  }
  const best = (paths) => paths.sort((one, other) => other.score - one.score).slice(0, BEST);
  const collapse = (path) => path.filter((symbol, t) => symbol && symbol !== path[t - 1]);

  // nodes[t][s]: where it may be entered from, its log alpha, how many beginnings of paths stand there, the best of them,
  // and whether the text can still be finished.
  function walk(labels, columns) {
    const states = [0, ...labels.flatMap((label) => [label, 0])];
    const ends = [states.length - 2, states.length - 1].filter((s) => s >= 0);
    // Stay, step, or skip the state before: a blank between two letters that differ (two blanks never do).
    const sources = (s) => [s, s - 1, s - 2].filter((from, way) => from >= 0 && (way < 2 || states[from] !== states[s]));
    const nodes = [];
    columns.forEach((column, t) => nodes.push(states.map((symbol, s) => {
      const score = Math.log(column[symbol]);
      const from = t ? sources(s).filter((i) => nodes[t - 1][i].count) : [];
      const before = t || s > 1 ? from.map((i) => nodes[t - 1][i]) : [{ alpha: 0, count: 1, best: [{ score: 0, path: [] }] }];
      const longer = before.flatMap((node) => node.best.map((way) => ({ score: way.score + score, path: [...way.path, s] })));
      return {
        from, alpha: logSum(before.map((node) => node.alpha)) + score, count: sum(before.map((node) => node.count)),
        best: best(longer.filter((way) => way.score > -Infinity)),
      };
    })));
    const last = ends.map((s) => nodes.at(-1)[s]);
    for (const node of last) node.finishes = node.count > 0;
    for (let t = nodes.length - 1; t > 0; t -= 1) {
      for (const node of nodes[t]) if (node.finishes) for (const i of node.from) nodes[t - 1][i].finishes = true;
    }
    return {
      states, nodes, ends, total: logSum(last.map((node) => node.alpha)), count: sum(last.map((node) => node.count)),
      best: best(last.flatMap((node) => node.best)),
      needed: labels.length + labels.filter((label, i) => label === labels[i - 1]).length,
    };
  }

  // ---- Words and elements -----------------------------------------------------------------------------------------------
  const say = (p) => (p >= 0.001 ? String(Number(p.toPrecision(3))) : p > 0 ? p.toExponential(1) : "0");
  const brief = (p) => (p >= 0.0095 ? p.toFixed(2) : p > 0 ? p.toExponential(0) : "0"); // fits a node
  function percent(p) {
    if (p > 0.995 && p < 1 - 1e-9) return "over 99 %"; // 100 % would be all of it
    return `${p >= 0.0995 ? Math.round(100 * p) : Number((100 * p).toPrecision(2))} %`;
  }
  const whole = (n) => n.toLocaleString("en");

  function make(tag, name, attributes = {}, ...children) {
    const element = document.createElement(tag);
    element.className = name && `asrlib-${name}`;
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }
  function button(name, words, press) {
    const element = make("button", name, { type: "button" }, words);
    element.addEventListener("click", press);
    return element;
  }
  const group = (name, label, ...children) => make("div", name, { role: "group", "aria-label": label }, ...children);

  function setUp(card) {
    const data = JSON.parse(card.querySelector(".asrlib-data").textContent);
    const symbols = [data.blank, ...data.alphabet];
    const spoken = ["blank", ...data.alphabet];
    const spell = (ids) => ids.map((id) => symbols[id]).join("");
    const copy = (columns) => columns.map((column) => [...column]);

    let labels, columns, result; // the state, and what follows from it
    let shown = 0; // frames whose alpha is filled in
    let active = null; // the node that is explained: [t, s]
    let chosen = -1; // the path shown in the trellis
    let act = null; // what the reader last changed, and how things were before
    let drag = null;
    let timer = 0;
    const text = () => spell(labels) || "no letter";
    const P = () => Math.exp(result.total);

    // ---- The parts, top to bottom ---------------------------------------------------------------------------------------
    const input = make("input", "", { type: "text", size: "7", autocomplete: "off", autocapitalize: "none", spellcheck: "false" });
    const fewer = button("quiet", "\u2212", () => resize(columns.length - 1));
    const more = button("quiet", "+", () => resize(columns.length + 1));
    const count = make("output", "count");
    const problem = make("p", "problem", { role: "status" });
    const scenes = group("row", "Scenes", ...data.scenes.map((scene) => button("quiet", scene.name, () => open(scene))),
      button("quiet", "Start over", () => open(null)));
    const quiz = make("div", "quiz");
    const figures = make("dl", "figures");
    const notice = make("p", "notice", { role: "status" });
    const grid = group("grid", "What the network says");
    const trellis = make("div", "trellis", { role: "grid", "aria-label": "Trellis: frames to the right, states downward" });
    const play = button("play", "Play", toggle);
    const slider = make("input", "", { type: "range", min: "1", "aria-label": "Frames filled in" });
    const clock = make("span", "clock");
    const why = make("p", "why");
    const stages = group("row", "Collapse", ...["1 paths", "2 merge repeats", "3 drop blanks"].map((name, stage) =>
      button("quiet", name, () => collapseTo(stage))));
    const paths = make("div", "paths");
    const together = make("p", "together");
    const greedy = make("div", "paths");
    fewer.setAttribute("aria-label", "One frame less");
    more.setAttribute("aria-label", "One frame more");
    const heading = (words, hint) => make("p", "heading", {}, make("strong", "", { role: "heading", "aria-level": "4" }, words), ` ${hint}`);
    const advice = make("p", "try", {}, make("strong", "", {}, "Try first: "), data.try);
    card.querySelector(".asrlib-static").replaceWith(
      advice, scenes, quiz,
      make("div", "row", {}, make("label", "field", {}, "Text", input), group("field", "Frames", "Frames", fewer, count, more)),
      problem, figures, notice,
      make("div", "scroll", {}, heading("What the network says", "each frame sums to 1; drag a number, or \u2191 \u2193"), grid,
        heading("Trellis", "\u03b1: the probability of all ways to get here; fuller: more of it, in its frame; faded: too late to finish; "
          + "dashed arrows skip a blank; double rings are the ends"), trellis),
      make("div", "flow", {}, play, slider, clock), why,
      heading("Paths", "which all collapse to the text"), stages, paths, together,
      heading("For comparison", "the most probable symbol of every frame"), greedy);

    // ---- Show the numbers -----------------------------------------------------------------------------------------------
    function draw() {
      result = walk(labels, columns);
      drawFigures();
      drawCells();
      drawNodes();
      drawPaths();
    }

    function drawFigures() {
      const [frames, p, loss] = [columns.length, P(), -result.total];
      Object.assign(card.dataset, { text: spell(labels), frames, loss, paths: result.count, needed: result.needed });
      const sign = !act || Math.abs(p - act.p) < 1e-12 ? "=" : p > act.p ? "\u25b2" : "\u25bc";
      const change = !act ? "" : act.text === text() ? `${sign} was ${say(act.p)}` : `${act.text} had ${say(act.p)}`;
      figures.replaceChildren(...[
        [`P(${text()})`, say(p), change],
        ["loss \u2212ln P", p ? loss.toFixed(3) : "\u221e", ""],
        ["paths that spell it", whole(result.count), `of ${whole(symbols.length ** frames)}`],
        ["frames needed", result.needed, `of ${frames}`],
      ].map(([name, value, note]) => make("div", "", {}, make("dt", "", {}, name),
        make("dd", "", {}, String(value), " ", make("small", "", {}, note)))));
      const blanks = result.needed - labels.length;
      const parts = `${labels.length} for letters${blanks ? ` and ${blanks} for the blank between equal neighbors` : ""}`;
      const undecided = act?.name === `${frames} frames` && frames > act.columns.length;
      const words = result.needed > frames
        ? `${text()} needs ${result.needed} frames, ${parts}. There are ${frames}: no path spells it, P is 0, the loss infinite.`
        : !p ? `Every path that spells ${text()} meets a probability of 0: P is 0, the loss infinite.`
          : undecided ? `The new frame is undecided: ${say(1 / symbols.length)} for every symbol.` : "";
      if (notice.textContent !== words) notice.textContent = words; // the same words again would be read aloud again
    }

    function drawCells() {
      for (const cell of grid.querySelectorAll(".asrlib-cell")) {
        const column = columns[cell.dataset.frame], p = column[cell.dataset.symbol];
        cell.textContent = p.toFixed(2);
        cell.dataset.p = p;
        cell.style.setProperty("--p", `${100 * p}%`);
        cell.classList.toggle("asrlib-most", p === Math.max(...column));
        cell.setAttribute("aria-valuenow", p.toFixed(2));
        cell.setAttribute("aria-valuetext", `${p.toFixed(2)}, P of the text ${say(P())}`);
      }
    }

    function drawNodes() {
      const path = result.best[chosen]?.path ?? [];
      const isActive = (t, s) => active?.[0] === t && active[1] === s;
      for (const element of trellis.querySelectorAll(".asrlib-node")) {
        const [t, s] = [Number(element.dataset.frame), Number(element.dataset.state)];
        const node = result.nodes[t][s], p = Math.exp(node.alpha), filled = t < shown;
        // Filled up in proportion to the largest alpha of the frame: from frame to frame all of them shrink.
        const largest = Math.max(...result.nodes[t].map((other) => other.alpha));
        element.style.setProperty("--level", filled && p ? Math.exp(node.alpha - largest) : 0);
        element.dataset.alpha = filled ? node.alpha : "";
        element.firstChild.textContent = filled ? brief(p) : "";
        element.setAttribute("aria-label", explain(t, s));
        element.classList.toggle("asrlib-never", !node.count);
        element.classList.toggle("asrlib-lost", !node.finishes);
        element.classList.toggle("asrlib-active", isActive(t, s));
        element.classList.toggle("asrlib-on-path", path[t] === s);
      }
      for (const arrow of trellis.querySelectorAll("path")) {
        const [t, from, s] = [arrow.dataset.frame, arrow.dataset.from, arrow.dataset.state].map(Number);
        arrow.classList.toggle("asrlib-waiting", t >= shown);
        arrow.classList.toggle("asrlib-active", isActive(t, s));
        arrow.classList.toggle("asrlib-on-path", path[t] === s && path[t - 1] === from);
      }
      slider.value = shown;
      clock.textContent = `frame ${shown} of ${columns.length}`;
      slider.setAttribute("aria-valuetext", clock.textContent);
      why.textContent = active ? explain(...active) : summary();
    }

    function stateName(s) {
      if (s % 2) return `letter ${(s + 1) / 2}, ${spoken[result.states[s]]}`;
      return s ? `the blank after letter ${s / 2}` : "the first blank";
    }

    function explain(t, s) {
      const { states, nodes } = result, node = nodes[t][s], alpha = say(Math.exp(node.alpha));
      const symbol = s % 2 ? symbols[states[s]] : "the blank";
      const where = `Frame ${t + 1}, ${stateName(s)}: `;
      if (t >= shown) return `${where}not filled in yet.`;
      if (!t) return where + (s < 2 ? `\u03b1 = ${alpha}, the probability of ${symbol} here: a path may begin on it.`
        : "\u03b1 = 0. Paths begin on the first blank or on letter 1.");
      if (!node.count) return `${where}\u03b1 = 0. No path comes this far in ${t + 1} frames.`;
      const ways = node.from.map((i) => `${say(Math.exp(nodes[t - 1][i].alpha))} from ${i === s ? "staying here" : stateName(i)}`);
      const repeat = s > 2 && s % 2 && states[s] === states[s - 2];
      return `${where}\u03b1 = (${ways.join(" + ")}) \u00d7 ${say(columns[t][states[s]])} for ${symbol} here = ${alpha}.` +
        (repeat ? ` No arrow skips the blank before it: without it, ${symbol} ${symbol} would merge.` : "") +
        (node.finishes ? "" : " Too few frames are left to finish the text: nothing of it reaches P.");
    }

    function summary() {
      if (shown < columns.length) return "\u03b1 = the sum of what its arrows bring, times the probability of its symbol in this frame.";
      const ends = result.ends.map((s) => `${say(Math.exp(result.nodes.at(-1)[s].alpha))} on the last ${s % 2 ? "letter" : "blank"}`);
      return `P(${text()}) = ${ends.join(" + ")} = ${say(P())}. Point at a node to see where its \u03b1 comes from.`;
    }

    function fillPath(row, ids, note, share = 0) {
      const chips = ids.map((id, t) => {
        const chip = make("span", "chip", { style: `--symbol: var(--symbol-${id})` }, symbols[id]);
        chip.classList.toggle("asrlib-blank", !id);
        chip.classList.toggle("asrlib-repeat", id === ids[t - 1]);
        return chip;
      });
      const spelled = spell(collapse(ids)) || "no letter";
      row.dataset.path = ids.join(" ");
      row.setAttribute("aria-label", `${ids.map((id) => spoken[id]).join(" ")} collapses to ${spelled}, ${note}`);
      row.append(make("span", "chips", { style: `min-width: ${24 * ids.length}px` }, ...chips),
        make("span", "text", {}, `\u2192 ${spelled}`),
        make("span", "bar", { style: `--share: ${100 * share}%` }), make("span", "note", {}, note));
      return row;
    }

    function drawPaths() {
      paths.replaceChildren(...result.best.map(({ score, path }, i) => {
        const row = button("path", "", () => choose(i));
        row.dataset.logP = score;
        row.setAttribute("aria-pressed", i === chosen);
        const share = Math.exp(score - result.total);
        return fillPath(row, path.map((s) => result.states[s]), `${say(Math.exp(score))} \u00b7 ${percent(share)} of P`, share);
      }));
      const share = Math.exp(logSum(result.best.map((path) => path.score)) - result.total);
      const which = result.best.length < result.count ? `The best ${result.best.length} of ${whole(result.count)} paths` : "All paths";
      together.textContent = P() ? `${which}, together ${percent(share)} of P. Press one to see it in the trellis.` : "No path to show.";
      const top = columns.map((column) => column.indexOf(Math.max(...column)));
      const same = spell(collapse(top)) === spell(labels);
      greedy.replaceChildren(fillPath(make("div", "path", { role: "img" }), top, same ? "the text" : "not the text"));
    }

    // ---- Build what depends on the text and on the number of frames --------------------------------------------------------
    function build() {
      stop();
      result = walk(labels, columns);
      [active, chosen, shown] = [null, -1, columns.length];
      count.textContent = slider.max = shown;
      fewer.setAttribute("aria-disabled", shown <= data.frames[0]); // disabled would lose the keyboard's focus
      more.setAttribute("aria-disabled", shown >= data.frames[1]);
      const line = (symbol, attributes, name, items) =>
        make("div", "line", { style: `--symbol: var(--symbol-${symbol})`, ...attributes }, name, ...items);
      const numbers = columns.map((_, t) => make("span", "frame", {}, String(t + 1)));
      grid.replaceChildren(line(0, { "aria-hidden": "true" }, make("span", "name", {}, make("small", "", {}, "frame")), numbers),
        ...symbols.map((mark, symbol) => line(symbol, {}, make("span", "name", {}, mark, make("small", "", {}, symbol ? "" : "blank")),
          columns.map((_, t) => make("div", "cell", {
            role: "slider", tabindex: t ? -1 : 0, "aria-label": `${spoken[symbol]}, frame ${t + 1}`, "aria-orientation": "vertical",
            "aria-valuemin": 0, "aria-valuemax": 1, "data-frame": t, "data-symbol": symbol,
          })))));
      trellis.replaceChildren(...result.states.map((symbol, s) => line(symbol, { role: "row", "aria-label": stateName(s) },
        make("span", "name", { role: "rowheader", "aria-label": stateName(s) }, symbols[symbol]),
        columns.map((_, t) => {
          const place = { role: "gridcell", tabindex: t || s ? -1 : 0, "data-frame": t, "data-state": s };
          const node = make("div", "node", place, make("span", ""));
          node.classList.toggle("asrlib-end", t === shown - 1 && result.ends.includes(s));
          return node;
        }))));
      drawArrows();
      draw();
    }

    function drawArrows() {
      const { offsetLeft: left, offsetWidth: width } = trellis.querySelector(".asrlib-node"); // 0 while hidden: see the observer
      const shape = (tag) => document.createElementNS("http://www.w3.org/2000/svg", tag);
      const svg = shape("svg");
      svg.setAttribute("aria-hidden", "true");
      result.nodes.forEach((column, t) => column.forEach((node, s) => node.from.forEach((from) => {
        const rise = (s - from) * ROW, angle = Math.atan2(rise, width), end = Math.hypot(rise, width) - RADIUS;
        const at = (along, aside = 0) => [ // from the center of the node it leaves
          left + (t - 0.5) * width + along * Math.cos(angle) - aside * Math.sin(angle),
          (from + 0.5) * ROW + along * Math.sin(angle) + aside * Math.cos(angle),
        ].map((value) => value.toFixed(1)).join(" ");
        const arrow = shape("path");
        arrow.setAttribute("d", `M${at(RADIUS)}L${at(end)}M${at(end - 5, 3)}L${at(end)}L${at(end - 5, -3)}`);
        Object.assign(arrow.dataset, { frame: t, from, state: s });
        arrow.classList.toggle("asrlib-skip", s - from === 2);
        arrow.classList.toggle("asrlib-lost", !node.finishes);
        svg.append(arrow);
      })));
      trellis.querySelector("svg")?.remove();
      trellis.prepend(svg);
    }

    // ---- What the reader does -----------------------------------------------------------------------------------------------
    // The same act again (a key held down, a drag) goes on from where it began, so that it can be undone by going back.
    function begin(name) {
      if (act?.name !== name) act = { name, text: text(), p: P(), columns: copy(columns) };
    }

    function setProbability({ frame, symbol }, value) {
      const old = act.columns[frame], p = Math.min(1, Math.max(0, Math.round(100 * value) / 100));
      const rest = sum(old.filter((_, other) => other !== Number(symbol)));
      columns[frame] = old.map((q, other) =>
        other === Number(symbol) ? p : rest ? (q * (1 - p)) / rest : (1 - p) / (old.length - 1));
      draw();
    }

    function show(state) {
      labels = [...state.text].map((letter) => symbols.indexOf(letter));
      columns = copy(state.columns);
      input.value = state.text;
      complain("");
      build();
    }

    function open(scene) { // null: what the notebook gave
      act = null;
      show(scene ?? data);
      advice.hidden = Boolean(scene); // it is about the text that the notebook gave
      data.scenes.forEach((other, i) => scenes.children[i].setAttribute("aria-pressed", other === scene));
      quiz.replaceChildren();
      if (!scene) return;
      const verdict = make("p", "verdict", { role: "status" });
      const answers = scene.answers.map((answer) => button("quiet", answer.name, ({ target }) => {
        act = null;
        show(scene);
        begin("guess");
        show(answer);
        for (const other of answers) other.setAttribute("aria-pressed", other === target);
        verdict.replaceChildren(make("strong", "", {}, answer.right ? "\u2713 Yes. " : "\u2717 No. "),
          `P(${act.text}) was ${say(act.p)}, P(${text()}) is ${say(P())}. ${scene.why}`);
      }));
      quiz.append(make("p", "", {}, make("strong", "", {}, "Guess: "), scene.question),
        group("row", "Answers", ...answers), verdict);
    }

    function complain(words) {
      problem.textContent = words;
      input.setAttribute("aria-invalid", Boolean(words));
    }

    function resize(frames) {
      if (frames < data.frames[0] || frames > data.frames[1]) return;
      begin(`${frames} frames`);
      columns = [...columns.slice(0, frames), ...(frames > columns.length ? [symbols.map(() => 1 / symbols.length)] : [])];
      build();
    }

    function stop() {
      timer = clearInterval(timer);
      play.textContent = "Play";
    }

    function toggle() {
      if (timer) return stop();
      if (shown === columns.length) shown = 0;
      const beat = () => {
        shown += 1;
        drawNodes();
        if (shown === columns.length) stop();
      };
      timer = setInterval(beat, BEAT);
      play.textContent = "Pause";
      beat();
    }

    function choose(i) {
      chosen = chosen === i ? -1 : i;
      [...paths.children].forEach((row, j) => row.setAttribute("aria-pressed", j === chosen));
      drawNodes();
      if (chosen >= 0) trellis.scrollIntoView({ block: "nearest" }); // on a phone it is out of sight
    }

    function collapseTo(stage) {
      card.dataset.stage = stage;
      [...stages.children].forEach((item, i) => item.setAttribute("aria-pressed", i === stage));
    }

    function point(element) {
      const node = element?.closest(".asrlib-node");
      active = node ? [Number(node.dataset.frame), Number(node.dataset.state)] : null;
      drawNodes();
    }

    input.addEventListener("input", () => {
      const typed = [...input.value], odd = typed.find((letter) => !data.alphabet.includes(letter));
      const known = `${data.alphabet.slice(0, -1).join(", ")} and ${data.alphabet.at(-1)}`;
      complain(odd !== undefined ? `\u201c${odd}\u201d is not in this small alphabet: use ${known}.`
        : typed.length > data.letters ? `${typed.length} letters are too many here: use at most ${data.letters}.` : "");
      if (problem.textContent || input.value === spell(labels)) return;
      begin(`text ${input.value}`);
      advice.hidden = true;
      labels = typed.map((letter) => symbols.indexOf(letter));
      build();
    });
    slider.addEventListener("input", () => {
      stop();
      shown = Number(slider.value);
      drawNodes();
    });
    grid.addEventListener("pointerdown", (event) => {
      const cell = event.target.closest(".asrlib-cell");
      if (!cell || event.button !== 0) return;
      act = null;
      begin("drag");
      drag = { cell, y: event.clientY, p: Number(cell.dataset.p) };
      cell.setPointerCapture(event.pointerId);
    });
    grid.addEventListener("pointermove", (event) => {
      if (drag) setProbability(drag.cell.dataset, drag.p + (drag.y - event.clientY) / DRAG);
    });
    for (const name of ["pointerup", "pointercancel"]) grid.addEventListener(name, () => (drag = null));
    trellis.addEventListener("pointerover", (event) => point(event.target));
    for (const name of ["pointerleave", "focusout"]) trellis.addEventListener(name, () => point(trellis.querySelector(":focus")));
    trellis.addEventListener("focusin", (event) => point(event.target));

    // One tab stop for a line of probabilities and for the trellis; the arrow keys lead on from there.
    card.addEventListener("focusin", ({ target }) => {
      const stops = target.closest(".asrlib-grid .asrlib-line, .asrlib-trellis")?.querySelectorAll("[tabindex]") ?? [];
      for (const other of stops) other.tabIndex = other === target ? 0 : -1;
    });
    card.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      event.stopPropagation(); // a notebook has its own ideas about letters and arrows
      const { frame, symbol, state, p } = event.target.dataset, right = RIGHT[event.key] ?? 0, down = DOWN[event.key] ?? 0;
      if (frame === undefined) return;
      if (right || (down && state)) {
        const beside = state ? `[data-state="${Number(state) + down}"]` : `[data-symbol="${symbol}"]`;
        card.querySelector(`[tabindex][data-frame="${Number(frame) + right}"]${beside}`)?.focus(); // not an arrow
      } else if (symbol && (down || event.key in ENDS)) {
        begin(`keys ${frame} ${symbol}`);
        setProbability(event.target.dataset, ENDS[event.key] ?? Number(p) - KEY_STEP * down);
      } else return;
      event.preventDefault();
    });

    open(null);
    collapseTo(0);
    new ResizeObserver(() => {
      drawArrows();
      drawNodes();
    }).observe(trellis);
  }

  for (const card of document.querySelectorAll(".asrlib-ctc_playground:not([data-ready])")) {
    card.dataset.ready = "true";
    setUp(card);
  }
})();
