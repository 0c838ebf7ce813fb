// Sets up every compare player on the page that is not set up yet. The same text stands behind each of them: it
// holds no data of its own (all of it is in the tables), defines no global, and needs no id.
(() => {
  const CONTEXT = 0.1; // seconds heard before and after a word
  const SHORTEST = 0.4; // seconds: less of a sound is hard to make out
  const [PLAY, PAUSE] = ["M2 1v12l11-6z", "M2 1h4v12H2zM8 1h4v12H8z"];

  function make(tag, name, attributes = {}) {
    const element = document.createElement(tag);
    element.className = `asrlib-${name}`;
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  }

  // include wave.js

  function setUp(compare) {
    const audio = compare.querySelector("audio"); // null: the sound was not stored
    const duration = Number(compare.dataset.duration);
    const picture = compare.querySelector(".asrlib-picture");
    const lines = compare.querySelector(".asrlib-lines");
    const tables = [...lines.querySelectorAll("table")];
    const heads = [...tables[0].rows].map((row) => row.cells[0]);
    // Every column of all lines, each with its cells from the truth down.
    const columns = tables.flatMap((table) => {
      const rows = [...table.rows].map((row) => [...row.cells]);
      return rows[0].slice(1).map((_, n) => rows.map((row) => row[n + 1]));
    });
    const words = columns.map((column) => column[0]).filter((cell) => cell.dataset.say);
    const startOf = (cell) => Number(cell.dataset.start);
    const endOf = (cell) => Number(cell.dataset.end);

    // What is played of a cell: its seconds and a little around them.
    const spanOf = (cell) => {
      const around = Math.max(CONTEXT, (SHORTEST - (endOf(cell) - startOf(cell))) / 2);
      return [Math.max(0, startOf(cell) - around), Math.min(endOf(cell) + around, duration)];
    };

    // --- lines: as many columns in each as fit ---

    const table = (some) => {
      const element = make("table", "line");
      heads.forEach((head, n) => element.insertRow().append(head.cloneNode(true), ...some.map((column) => column[n])));
      return element;
    };
    let room = 0;
    const layout = () => {
      if (!lines.clientWidth || lines.clientWidth === room) return;
      room = lines.clientWidth;
      const focused = document.activeElement; // a cell that moves loses the focus
      lines.replaceChildren(table(columns)); // in one long line, to measure
      const boxes = [...lines.querySelector("tr").cells].slice(1).map((cell) => cell.getBoundingClientRect());
      const free = lines.getBoundingClientRect().left + room - boxes[0].left; // beside the names
      const shares = [[]];
      let start = boxes[0].left;
      columns.forEach((column, n) => {
        if (boxes[n].right - start > free && shares.at(-1).length) {
          shares.push([]);
          start = boxes[n].left;
        }
        shares.at(-1).push(column);
      });
      lines.replaceChildren(...shares.map(table));
      if (lines.contains(focused)) focused.focus({ preventScroll: true });
    };

    // --- cells: what can be clicked becomes a button; one of them is reached by Tab, the others by the arrows ---

    const cells = columns.flat().filter((cell) => cell.dataset.say);
    for (const cell of cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.tabIndex = cell === words[0] ? 0 : -1;
      button.setAttribute("aria-label", cell.dataset.say);
      button.append(...cell.childNodes);
      cell.append(button);
    }
    const step = (cell, key) => {
      const at = columns.findIndex((column) => column.includes(cell));
      const row = columns[at].indexOf(cell);
      const inRow = (n) => columns.map((column) => column[n]).filter((other) => other.dataset.say);
      const distance = (other) => Math.abs(columns.findIndex((column) => column.includes(other)) - at);
      if (key === "ArrowLeft" || key === "ArrowRight") {
        const own = inRow(row);
        return own[own.indexOf(cell) + (key === "ArrowLeft" ? -1 : 1)];
      }
      const by = key === "ArrowUp" ? -1 : 1;
      for (let n = row + by; n >= 0 && n < heads.length; n += by) {
        const other = inRow(n).sort((a, b) => distance(a) - distance(b))[0];
        if (other) return other; // the nearest: right above or below there may be none
      }
    };

    // --- sound ---

    const band = make("div", "band");
    const cursor = make("div", "cursor");
    const controls = make("div", "controls");
    const play = make("button", "play", { type: "button" });
    const readout = make("p", "readout");
    const keys = make("span", "keys");
    keys.textContent = " Arrow keys move on.";
    const hint = [`Click a true word or an error to ${audio ? "hear it" : "see where it is"}.`, keys];
    let chosen = null; // the cell whose span is or was played
    let stop = Infinity; // seconds: where its span ends
    let frame = 0;

    const draw = () => {
      const seconds = Math.min(audio.currentTime, duration);
      cursor.style.left = `${(100 * seconds) / duration}%`;
      if (chosen) {
        const [from, to] = spanOf(chosen);
        chosen.style.setProperty("--played", audio.paused ? "0%" : `${(100 * (seconds - from)) / (to - from)}%`);
      }
      const playing = !audio.paused && !chosen; // all of it: its words light up
      for (const word of words) {
        word.classList.toggle("asrlib-now", playing && startOf(word) <= seconds && seconds < endOf(word));
      }
    };
    const follow = () => {
      if (audio.currentTime >= stop) audio.pause();
      draw();
      cancelAnimationFrame(frame);
      if (!audio.paused) frame = requestAnimationFrame(follow);
    };
    const label = () => {
      const [word, shape] = audio.paused ? ["Play all", PLAY] : ["Pause", PAUSE];
      play.innerHTML = `<svg viewBox="0 0 14 14" aria-hidden="true"><path d="${shape}"/></svg>${word}`;
      follow();
    };
    const fail = (error) => {
      if (error?.name === "AbortError") return; // paused before it had begun
      readout.textContent = "This browser cannot play the sound.";
      audio.controls = true;
    };
    const start = () => {
      for (const other of document.querySelectorAll(".asrlib-card audio")) if (other !== audio) other.pause();
      audio.play().catch(fail);
      follow(); // the events come a frame later
    };
    const choose = (cell) => {
      chosen?.classList.remove("asrlib-chosen");
      chosen = cell;
      band.hidden = !cell;
      stop = Infinity;
      readout.replaceChildren(...hint);
      if (!cell) return;
      cell.classList.add("asrlib-chosen");
      band.style.left = `${(100 * startOf(cell)) / duration}%`;
      band.style.width = `${(100 * (Math.min(endOf(cell), duration) - startOf(cell))) / duration}%`;
      const system = make("bdi", "system");
      system.textContent = cell.parentElement.cells[0].textContent;
      readout.replaceChildren(system, `: ${cell.dataset.say}`);
      if (!audio) return;
      [audio.currentTime, stop] = spanOf(cell);
      start();
    };

    // --- events ---

    lines.addEventListener("click", (event) => {
      if (event.target.closest("td button")) choose(event.target.closest("td"));
    });
    lines.addEventListener("focusin", (event) => {
      for (const cell of cells) cell.firstChild.tabIndex = cell.firstChild === event.target ? 0 : -1;
    });
    picture.addEventListener("click", (event) => {
      const box = picture.getBoundingClientRect();
      const seconds = ((event.clientX - box.left) / box.width) * duration;
      const distance = (word) => Math.max(startOf(word) - seconds, seconds - endOf(word), 0);
      choose([...words].sort((a, b) => distance(a) - distance(b))[0]);
    });
    compare.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || !event.target.closest("button")) return;
      if (event.key === " " || event.key === "Enter") return event.stopPropagation(); // the button's own click follows
      const cell = event.target.closest("td");
      if (!cell || !event.key.startsWith("Arrow")) return;
      step(cell, event.key)?.firstChild.focus();
      event.preventDefault();
      event.stopPropagation();
    });

    picture.append(band);
    controls.append(readout);
    compare.querySelector(".asrlib-scores").before(controls);
    if (audio) {
      picture.append(cursor);
      controls.prepend(play);
      audio.controls = false;
      play.addEventListener("click", () => {
        if (!audio.paused) return audio.pause();
        if (chosen) audio.currentTime = 0; // a word was heard last: now all of it
        choose(null);
        start();
      });
      for (const name of ["play", "pause", "ended"]) audio.addEventListener(name, label);
      for (const name of ["seeked", "timeupdate"]) audio.addEventListener(name, follow);
      const stored = audio.src, use = (source) => swap(audio, source).catch(fail);
      audio.addEventListener("error", (event) => (audio.src === stored ? fail(event) : use(stored)));
      const rate = Number(compare.dataset.rate); // of an MP3
      if (rate) toWave(audio, rate, Math.round(duration * rate)).then(use, () => {});
      label();
    }
    choose(null);
    layout();
    new ResizeObserver(() => requestAnimationFrame(layout)).observe(lines);
  }

  for (const compare of document.querySelectorAll(".asrlib-compare:not([data-ready])")) {
    compare.dataset.ready = "true";
    setUp(compare);
  }
})();
