// Sets up every beam playground on the page that is not set up yet; all data stands in its own JSON element.
(() => {
  const LOST = 3; // dropped prefixes in tree and table; a list names the others
  const ROW = 42, GAP = 0.14; // of the tree: pixels a prefix, and columns between a prefix and the next frame
  const PAUSE = 1100; // milliseconds a frame, when playing

  function make(tag, name, attributes = {}, ...children) {
    const element = document.createElement(tag);
    if (name) element.className = `asrlib-${name}`;
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  function logAdd(a, b) {
    const [high, low] = a > b ? [a, b] : [b, a];
    return low === -Infinity ? high : high + Math.log1p(Math.exp(low - high));
  }

  // The search of asrlib.decoding.prefix_beam_search, line by line, with the language model's share of beam_search.
  // Equal scores stay in the order in which they were found, as in Python. Returns the beam before the first frame
  // and after each, with what fell out.
  function search({ rows, lm, beta }, size, alpha) {
    let beam = [{ tokens: [], blank: 0, label: -Infinity, total: 0, lm: 0, state: 0, score: 0, from: [] }];
    const steps = [{ kept: beam, lost: [] }];
    for (const row of rows) {
      const grown = new Map();
      const add = (parent, token, toBlank, toLabel) => {
        if (toBlank === -Infinity && toLabel === -Infinity) return; // no path leads there
        const tokens = token ? [...parent.tokens, token] : parent.tokens;
        let found = grown.get(tokens.join());
        if (!found) {
          found = { tokens, blank: -Infinity, label: -Infinity, lm: parent.lm, state: parent.state, from: [] };
          if (token && alpha > 0) {
            found.lm += alpha * lm.score[parent.state][token] + beta;
            found.state = lm.next[parent.state][token];
          }
          grown.set(tokens.join(), found);
        }
        found.blank = logAdd(found.blank, toBlank);
        found.label = logAdd(found.label, toLabel);
        if (!found.from.includes(parent)) found.from.push(parent); // two of them: it merged
      };
      for (const parent of beam) {
        const last = parent.tokens.at(-1);
        add(parent, 0, parent.total + row[0], -Infinity);
        for (let token = 1; token < row.length; token++) {
          if (token === last) {
            add(parent, 0, -Infinity, parent.label + row[token]); // one letter, held for a frame
            add(parent, token, -Infinity, parent.blank + row[token]); // a second one
          } else add(parent, token, -Infinity, parent.total + row[token]);
        }
      }
      const ranked = [...grown.values()];
      for (const prefix of ranked) {
        prefix.total = logAdd(prefix.blank, prefix.label);
        prefix.score = prefix.total + prefix.lm;
      }
      ranked.sort((a, b) => b.score - a.score);
      beam = ranked.slice(0, size);
      steps.push({ kept: beam, lost: ranked.slice(size) });
    }
    const texts = beam.map((prefix) => {
      const share = alpha > 0 ? prefix.lm + alpha * lm.end[prefix.state] : 0; // and then the text ends
      return { ...prefix, lm: share, score: prefix.total + share };
    });
    return { steps, texts: texts.sort((a, b) => b.score - a.score) };
  }

  const badge = (kind) => (kind === "met" ? make("b", kind, { role: "img", "aria-label": "merged:" }, "+")
    : make("b", kind, { role: "img", "aria-label": "fell out:" }, "\u00d7"));
  const chance = (log) => {
    const p = Math.exp(log);
    return p === 0 ? "0" : p < 0.00005 ? "\u22480" : p.toFixed(p < 0.0005 ? 4 : 3);
  };
  const fixed = (log) => log.toFixed(2).replace("-", "\u2212");

  function setUp(card) {
    const data = JSON.parse(card.querySelector(".asrlib-data").textContent);
    for (const row of data.rows) row.forEach((x, i) => { row[i] = x ?? -Infinity; });
    const frames = data.rows.length;
    let size = data.beam, alpha = data.alpha, at = frames, timer = 0, found;

    const text = (prefix) => prefix.tokens.map((token) => data.alphabet[token - 1]).join("");
    const shown = (string) => make("bdi", "text", {}, string ? string.replaceAll(" ", "\u2423") : make("i", "", {}, "empty"));
    const exact = (prefix) => ({
      "data-text": text(prefix), "data-blank": prefix.blank, "data-letter": prefix.label,
      "data-total": prefix.total, "data-lm": prefix.lm, "data-score": prefix.score,
    });

    // Controls, tree and lists, once; `draw` fills them.
    const button = (word, does, name = "quiet") => {
      const element = make("button", name, { type: "button" }, word);
      element.addEventListener("click", does);
      return element;
    };
    const slider = (label, range, value, change) => {
      const input = make("input", "", { type: "range", ...range, value, "aria-label": label });
      const output = make("output", "", { "aria-hidden": "true" });
      input.addEventListener("input", () => { change(Number(input.value)); update(); });
      return { input, output, row: make("label", "slider", {}, make("span", "", {}, label), input, output) };
    };
    const play = button("Play", () => (timer ? stop() : start()));
    const beamSlider = slider("Beam width", { min: 1, max: 6 }, size, (value) => { size = value; });
    const alphaSlider = slider("Language model weight", { min: 0, max: 2, step: 0.05 }, alpha, (value) => { alpha = value; });
    const controls = make("div", "controls", {},
      button("Reset", () => go(0)), button("Back", () => go(at - 1)), button("Step", () => go(at === frames ? 0 : at + 1), "step"), play);
    const view = card.querySelector(".asrlib-view");
    const tree = make("div", "tree", { "aria-hidden": "true" }); // the table below says the same in words
    const marker = make("div", "marker", { "aria-hidden": "true" });
    const status = make("p", "status", { role: "status" });
    const detail = make("div", "detail");
    const winners = make("div", "winners", { role: "status" });
    const ranking = make("div", "texts");
    const order = make("span", "", {}, "numbers: the sound alone; order: with the language model");
    const plane = make("div", "plane", {}, view.firstElementChild, tree, marker);
    view.append(plane);
    view.setAttribute("tabindex", "0");
    view.setAttribute("role", "group");
    view.setAttribute("aria-label", "Frames and search tree: left and right arrows step, space plays");
    plane.style.setProperty("--frames", frames);
    const question = card.querySelector("details") ?? card.querySelector(".asrlib-try");
    question.after(make("div", "sliders", {}, beamSlider.row, alphaSlider.row), winners, controls);
    view.after(legend(), status, detail);
    card.querySelector(".asrlib-static").replaceWith(ranking);

    function legend() {
      const line = (name, words) => make("span", "", {}, make("i", `key asrlib-${name}`), words);
      return make("p", "legend", { "aria-hidden": "true" }, line("grow", "a letter more"), line("stay", "stays: blank, or letter held"),
        make("span", "", {}, badge("met"), "merged: two ways, summed"),
        make("span", "", {}, make("i", "key asrlib-lost"), badge("out"), "fell out"),
        line("inblank", "bar: its paths that end in a blank"), line("inletter", "those that end in its last letter"), order);
    }

    function stop() {
      clearInterval(timer);
      timer = 0;
      play.textContent = "Play";
    }
    function start() {
      if (at === frames) go(0);
      play.textContent = "Pause";
      timer = setInterval(() => {
        if (!card.isConnected) return stop(); // the notebook took the output away
        show(at + 1);
        if (at === frames) stop();
      }, PAUSE);
    }
    function go(frame) {
      stop();
      show(Math.max(0, Math.min(frame, frames)));
    }

    // Where a prefix stands in the tree: columns from the left edge of frame 1, and pixels from the top.
    const y = (row) => (row + 0.5) * ROW;
    function curve(frame, from, to) {
      const [x0, x1] = [frame - 1 - GAP, frame - 1 + GAP]; // frame counts from 1
      return `M${x0} ${y(from)}C${frame - 1} ${y(from)} ${frame - 1} ${y(to)} ${x1} ${y(to)}`;
    }
    function node(prefix, frame, row, peak, lost) {
      const share = (log) => `${(100 * Math.exp(log - peak)).toFixed(1)}%`;
      const bar = make("span", "bar", {}, make("i", "inblank"), make("i", "inletter"));
      bar.firstChild.style.width = share(prefix.blank);
      bar.lastChild.style.width = share(prefix.label);
      const name = prefix.tokens.length > 5 ? `\u2026${text({ tokens: prefix.tokens.slice(-4) })}` : text(prefix); // what fits
      const chip = make("div", lost ? "node asrlib-lost" : "node", {}, shown(name), make("small", "", {}, chance(prefix.total)), bar);
      if (lost || prefix.from.length > 1) chip.append(badge(lost ? "out" : "met"));
      chip.style.setProperty("--frame", frame);
      chip.style.top = `${y(row)}px`;
      return chip;
    }

    function drawTree() {
      const height = ROW * (size + Math.min(LOST, Math.max(...found.steps.map((step) => step.lost.length))));
      const lines = { stay: "", grow: "", lost: "" }, nodes = [];
      for (let t = 0; t <= at; t++) {
        const { kept, lost } = found.steps[t];
        const peak = Math.max(...kept.map((prefix) => prefix.total));
        const drawn = t === at ? [...kept, ...lost.slice(0, LOST)] : kept;
        drawn.forEach((prefix, row) => {
          const out = row >= kept.length;
          nodes.push(node(prefix, t, row, peak, out));
          for (const parent of prefix.from) {
            const kind = out ? "lost" : parent.tokens.length === prefix.tokens.length ? "stay" : "grow";
            lines[kind] += curve(t, found.steps[t - 1].kept.indexOf(parent), row);
          }
        });
      }
      tree.innerHTML = `<svg viewBox="0 0 ${frames} ${height}" preserveAspectRatio="none"><path class="asrlib-stay"/><path
        class="asrlib-grow"/><path class="asrlib-lost"/></svg><div class="asrlib-edge"></div>`;
      for (const [kind, path] of Object.entries(lines)) tree.querySelector(`path.asrlib-${kind}`).setAttribute("d", path);
      tree.lastChild.style.top = `${ROW * size}px`;
      tree.lastChild.textContent = found.steps[at].lost.length ? "fell out" : "";
      tree.append(...nodes);
      tree.style.height = `${height}px`;
      marker.style.setProperty("--frame", at);
      marker.hidden = at === 0;
    }

    function drawDetail() {
      const { kept, lost } = found.steps[at];
      const met = kept.filter((prefix) => prefix.from.length > 1).length;
      const words = at === 0 ? "Before frame 1: only the empty prefix, with probability 1."
        : `After frame ${at}: ${kept.length} kept${met ? ` (${met} merged)` : ""}, ${lost.length || "none"} fell out.`;
      if (status.textContent !== words) status.textContent = words; // the same words again would be read aloud again
      const heads = ["ends in blank", "ends in its letter", "sum", ...(alpha > 0 ? ["language model", "score"] : [])];
      const head = make("th", "", { scope: "col" }, make("span", "prefix", {}, "prefix"), " ", make("span", "from", {}, "came from"));
      const rows = [...kept, ...lost.slice(0, LOST)].map((prefix, i) => {
        const out = i >= kept.length;
        const name = make("span", "prefix", {}, out ? make("s", "", {}, shown(text(prefix))) : shown(text(prefix)));
        const numbers = [prefix.blank, prefix.label, prefix.total].map(chance);
        if (alpha > 0) numbers.push(fixed(prefix.lm), fixed(prefix.score));
        return make("tr", out ? "lost" : "kept", exact(prefix), make("th", "", { scope: "row" }, name, " ", origin(prefix, out)),
          ...numbers.map((number) => make("td", "", {}, number)));
      });
      detail.replaceChildren(table("beam", [head, ...heads], rows));
      if (lost.length <= LOST) return;
      const others = lost.slice(LOST).map((prefix) => make("span", "lost", exact(prefix), make("s", "", {}, shown(text(prefix))),
        ` ${alpha > 0 ? fixed(prefix.score) : chance(prefix.total)}`));
      detail.append(make("p", "others", {}, make("span", "", {}, `Fell out, too${alpha > 0 ? " (score)" : ""}:`), ...others));
    }

    function origin(prefix, out) {
      const words = make("span", "from");
      const parents = [...prefix.from].sort((a, b) => b.tokens.length - a.tokens.length); // itself first
      parents.forEach((parent, i) => {
        if (i) words.append(" and ");
        if (parent.tokens.length === prefix.tokens.length) words.append("stays");
        else words.append(shown(text(parent)), " + ", shown(data.alphabet[prefix.tokens.at(-1) - 1]));
      });
      if (out || prefix.from.length > 1) words.prepend(badge(out ? "out" : "met"));
      return words;
    }

    function table(name, heads, rows) {
      const cells = heads.map((head) => (head.nodeType ? head : make("th", "", { scope: "col" }, head)));
      return make("table", name, {}, make("thead", "", {}, make("tr", "", {}, ...cells)), make("tbody", "", {}, ...rows));
    }

    function drawResult() {
      const [best] = found.texts;
      const winner = (title, words, score) => make("p", "winner", { "data-text": words },
        make("span", "", {}, title), make("b", "", {}, shown(words)), make("span", "", {}, score));
      const sum = alpha > 0 ? "sound + language model:" : "its paths in the beam: log P =";
      const two = [winner("Greedy: the best path", data.greedy.text, `that path: log P = ${fixed(data.greedy.score)}`),
        winner(`Beam of ${size}: the best text it kept`, text(best), `${sum} ${fixed(best.score)}`)];
      if (two.some((each, i) => each.textContent !== winners.children[i]?.textContent)) winners.replaceChildren(...two);
      const rows = found.texts.map((each) => {
        const numbers = alpha > 0 ? [each.total, each.lm, each.score].map(fixed) : [chance(each.total), fixed(each.score)];
        const name = make("th", "", { scope: "row" }, shown(text(each)));
        if (text(each) === data.greedy.text) name.append(make("small", "", {}, "greedy\u2019s"));
        return make("tr", "", exact(each), name, ...numbers.map((number) => make("td", "", {}, number)));
      });
      const bonus = data.beta ? ` ${data.beta < 0 ? "\u2212" : "+"} ${Math.abs(data.beta)} a character` : "";
      const rule = alpha > 0 ? `score = sound + language model: ${alpha.toFixed(2)} \u00d7 log P(text and its end)${bonus}, by a ${data.lm_name}`
        : "probability: of all paths of the text that the beam held; score: its natural logarithm";
      const heads = alpha > 0 ? ["text", "sound", "language model", "score"] : ["text", "probability", "score"];
      const title = make("p", "", {}, "Ranking after the last frame");
      ranking.replaceChildren(title, table("ranking", heads, rows), make("p", "rule", {}, rule));
    }

    function show(frame) {
      at = frame;
      drawTree();
      drawDetail();
      view.scrollLeft = marker.offsetLeft + marker.offsetWidth - view.clientWidth + 8; // on a narrow screen, to this frame
    }
    function update() {
      found = search(data, size, alpha);
      beamSlider.output.textContent = size;
      alphaSlider.output.textContent = alpha > 0 ? alpha.toFixed(2) : "0 (off)";
      alphaSlider.input.setAttribute("aria-valuetext", alphaSlider.output.textContent);
      order.hidden = alpha === 0;
      show(at);
      drawResult();
    }

    card.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
      const steps = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: frames };
      const presses = event.key === " " || event.key === "Enter";
      if (event.target.matches("input") || (presses && event.target.matches("button"))) return event.stopPropagation(); // their own keys
      if (event.key in steps) go(steps[event.key]);
      else if (event.key === " ") play.click();
      else return;
      event.preventDefault();
      event.stopPropagation(); // the notebook has meanings of its own for these
    });
    update();
  }

  for (const card of document.querySelectorAll(".asrlib-beam_playground:not([data-ready])")) {
    card.dataset.ready = "true";
    setUp(card);
  }
})();
