// Sets up every player on the page that is not set up yet. The same text stands behind each player: it holds no
// data of its own (all of it is in the markup), defines no global, and needs no id.
(() => {
  const KEY_STEP = 0.25; // seconds
  const ZOOMS = [1, 2, 4, 8];
  const AROUND = 0.05; // seconds that a loop takes in on each side of its word: CTC's times are rough
  const SHORTEST = 0.25; // seconds of a loop; less is a buzz
  const SHAPES = { Play: "M2 1v12l11-6z", Pause: "M2 1h4v12H2zM8 1h4v12H8z" };

  function make(tag, name, attributes = {}, text = "") {
    const element = document.createElement(tag);
    element.className = `asrlib-${name}`;
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.textContent = text;
    return element;
  }

  function setUp(player) {
    const audio = player.querySelector("audio"); // none where it was not stored: the rest remains
    const duration = Number(player.dataset.duration);
    const data = JSON.parse(player.querySelector(".asrlib-data")?.textContent ?? "{}");
    const controls = make("div", "controls");
    player.querySelector(".asrlib-figure").after(controls);
    const rows = ["heard", "said"].map((name) => placeWords(player, name, data[name] ?? [], audio ? "button" : "span"));
    const view = addZoom(player, duration, rows, placeLetters(player, data.greedy ?? [], duration));
    if (audio) addSound(player, audio, duration, rows.flat(), view, controls);
    controls.append(view.buttons);
    if (!audio) return;
    const keys = ["space: play or pause", "\u2190 \u2192: 0.25 s", "+ \u2212: zoom"];
    if (rows.flat().length) keys.push("click a word: loop it", "Esc: stop");
    controls.append(make("span", "hint", { "data-label": keys.join(" \u00b7 ") }));
  }

  // Each letter of the greedy string at its frame; returns a function that makes them fit.
  function placeLetters(player, letters, duration) {
    const row = player.querySelector(".asrlib-row.asrlib-greedy");
    if (!row) return () => {};
    if (letters.length) row.replaceChildren(...letters.map(([letter, seconds]) => {
      const element = letter === " " ? make("span", "letter asrlib-space", {}, "\u2423") : make("span", "letter", {}, letter);
      element.style.left = `${(100 * seconds) / duration}%`;
      return element;
    }));
    const gap = Math.min(...letters.slice(1).map(([, seconds], i) => seconds - letters[i][1])); // of the two nearest
    return (pixels) => { // on one line, on two by turns, or not at all
      row.dataset.lines = gap * pixels > 12 ? "1" : gap * pixels > 6 ? "2" : "0";
    };
  }

  // A word is a name under a bar from its start to its end. Tab finds the first of a row, the arrows go to the others.
  function placeWords(player, name, words, tag) {
    const row = player.querySelector(`.asrlib-row.asrlib-${name}`);
    const items = words.map(([text, start, end]) => {
      const title = `${text.slice(0, 80)} \u00b7 ${start.toFixed(2)}\u2013${end.toFixed(2)} s`;
      const element = make(tag, "word", tag === "button" ? { type: "button", "aria-pressed": "false", tabindex: "-1", title } : { title });
      const bar = make("span", "bar"), label = make("span", "name", { dir: "auto" }, text);
      element.append(bar, label);
      return { element, bar, start, end };
    });
    if (!items.length) return items;
    row.replaceChildren(...items.map((item) => item.element));
    if (tag !== "button") return items;
    items[0].element.tabIndex = 0;
    row.setAttribute("role", "toolbar");
    row.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
      items[items.findIndex((item) => item.element === event.target) + by]?.element.focus();
      event.preventDefault();
      event.stopPropagation();
    });
    return items;
  }

  // Stack the words of a row on at most so many lines: each goes to the first line with room for its name. Where none
  // has, it goes to the line whose last word is longest past, and that word is cut short.
  function stack(items, most, width, pixels) {
    const lasts = [];
    for (const item of items) {
      const length = (item.end - item.start) * pixels;
      item.width = Math.max(item.natural, length);
      item.left = Math.max(0, Math.min(item.start * pixels, width - item.width));
      let line = [...Array(most).keys()].find((n) => !(lasts[n] && lasts[n].left + lasts[n].width + 3 > item.left));
      if (line === undefined) {
        line = lasts.reduce((best, last, n) => (last.left < lasts[best].left ? n : best), 0);
        lasts[line].element.style.width = `${Math.max(item.left - lasts[line].left - 3, 4)}px`;
      }
      lasts[line] = item;
      item.bar.style.cssText = `left: ${item.start * pixels - item.left}px; width: ${Math.max(length, 2)}px`;
      item.element.style.cssText = `left: ${item.left}px; width: ${item.width}px; --line-number: ${line}`;
    }
    items[0]?.element.parentElement.style.setProperty("--lines", lasts.length);
  }

  // Spread the time axis; what is too wide then scrolls and follows the cursor.
  function addZoom(player, duration, rows, fitLetters) {
    const figure = player.querySelector(".asrlib-figure");
    const axis = player.querySelector(".asrlib-ticks");
    const buttons = make("span", "zoom", { role: "group", "aria-label": "Zoom" });
    const smaller = make("button", "quiet", { type: "button", "aria-label": "Zoom out" }, "\u2212");
    const larger = make("button", "quiet", { type: "button", "aria-label": "Zoom in" }, "+");
    const shown = make("output", "level");
    buttons.append(smaller, shown, larger);
    let zoom = 1, now = 0, fitted = 0;

    const fit = () => { // reads first, then writes: each read after a write would lay out the page once more
      const width = axis.offsetWidth;
      if (!width || width === fitted) return; // 0: not on the page yet
      fitted = width;
      for (const item of rows.flat()) item.natural ??= Math.ceil(item.element.getBoundingClientRect().width);
      const most = Number(getComputedStyle(figure).getPropertyValue("--most"));
      fitLetters(width / duration);
      for (const items of rows) stack(items, most, width, width / duration);
    };
    const label = () => {
      shown.textContent = `zoom ${zoom}\u00d7`;
      smaller.setAttribute("aria-disabled", zoom === ZOOMS[0]);
      larger.setAttribute("aria-disabled", zoom === ZOOMS.at(-1));
    };
    const tick = () => { // at most 9 in view, at round times, as asrlib.widgets._pictures.axis draws them
      const least = duration / (8 * zoom), power = 10 ** Math.floor(Math.log10(least));
      const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= least);
      const ticks = [];
      for (let n = 0; n * step < duration + step * 1e-6; n += 1) {
        const span = document.createElement("span");
        span.style.left = `${((100 * n * step) / duration).toFixed(3)}%`;
        span.dataset.label = String(Number((n * step).toPrecision(6)));
        ticks.push(span);
      }
      ticks.at(-1).dataset.label += " s";
      axis.replaceChildren(...ticks);
    };
    const visible = () => figure.clientWidth - axis.offsetLeft; // pixels of the time axis, at any zoom
    const reveal = () => { // turn the page when the cursor has left it
      const x = (now / duration) * axis.offsetWidth - figure.scrollLeft;
      if (zoom > 1 && (x < 0 || x > 0.95 * visible())) figure.scrollLeft += x - 0.1 * visible();
    };
    const show = (level) => {
      const x = (now / duration) * axis.offsetWidth - figure.scrollLeft;
      const fixed = x >= 0 && x <= visible() ? x : visible() / 2; // the cursor, or else the middle, stays where it is
      const seconds = ((figure.scrollLeft + fixed) / axis.offsetWidth) * duration;
      zoom = level;
      figure.style.setProperty("--zoom", zoom);
      figure.toggleAttribute("data-zoomed", zoom > 1);
      label();
      tick();
      fit();
      figure.scrollLeft = (seconds / duration) * axis.offsetWidth - fixed;
    };
    const step = (by) => {
      const level = ZOOMS[ZOOMS.indexOf(zoom) + by];
      if (level) show(level);
    };
    smaller.addEventListener("click", () => step(-1));
    larger.addEventListener("click", () => step(1));
    player.addEventListener("keydown", (event) => {
      const by = { "+": 1, "=": 1, "-": -1 }[event.key]; // = is + without Shift on many keyboards
      if (!by || event.ctrlKey || event.metaKey || event.altKey) return;
      step(by);
      event.preventDefault();
      event.stopPropagation();
    });
    new ResizeObserver(fit).observe(axis); // its height is always the same: no loop
    label();
    fit();
    return { buttons, reveal, at: (seconds) => { now = seconds; } };
  }

  // include wave.js

  function addSound(player, audio, duration, words, view, controls) {
    const figure = player.querySelector(".asrlib-figure");
    const cursor = make("div", "cursor"), over = make("div", "over"), band = make("div", "band");
    const seeker = make("div", "seek", {
      role: "slider", tabindex: "0", "aria-label": "Position", "aria-valuemin": "0",
      "aria-valuemax": duration.toFixed(2), "aria-keyshortcuts": "Space ArrowLeft ArrowRight + -",
    });
    const button = make("button", "play", { type: "button" });
    const half = make("button", "quiet", { type: "button", "aria-pressed": "false" }, "\u00bd speed");
    const clock = make("span", "clock");
    band.hidden = true;
    seeker.append(band);
    over.append(cursor);
    figure.prepend(seeker, over); // before the words: Tab comes here first
    controls.append(button, clock, half);
    audio.controls = false;
    audio.preservesPitch = true;

    let frame = 0, broken = false, loop = null; // the word that is played again and again
    const draw = () => {
      const seconds = Math.min(audio.currentTime, duration);
      view.at(seconds);
      cursor.style.left = `${(100 * seconds) / duration}%`;
      clock.textContent = broken ? "this browser cannot play the sound" : `${seconds.toFixed(2)} / ${duration.toFixed(2)} s`;
      for (const word of words) word.element.toggleAttribute("data-now", word.start <= seconds && seconds < word.end);
    };
    const wrap = () => {
      if (loop && !audio.paused && audio.currentTime >= loop.to) audio.currentTime = loop.from;
    };
    const follow = () => {
      wrap();
      draw();
      cancelAnimationFrame(frame);
      if (audio.paused) return;
      view.reveal();
      frame = requestAnimationFrame(follow);
    };
    const label = () => {
      const word = audio.paused ? "Play" : "Pause";
      button.innerHTML = `<svg viewBox="0 0 14 14" aria-hidden="true"><path d="${SHAPES[word]}"/></svg>${word}`;
      follow();
    };
    const announce = () => {
      seeker.setAttribute("aria-valuenow", audio.currentTime.toFixed(2));
      seeker.setAttribute("aria-valuetext", `${audio.currentTime.toFixed(2)} seconds of ${duration.toFixed(2)}`);
    };
    const fail = (error) => {
      if (error?.name === "AbortError") return; // paused before it had begun
      broken = audio.controls = true;
      draw(); // says so, and goes on saying so if the browser plays on without a sound
    };
    const seek = (seconds) => {
      audio.currentTime = Math.max(0, Math.min(seconds, duration));
      draw();
      announce();
    };
    const stored = audio.src;
    const use = (source) => swap(audio, source).catch(fail);
    const play = () => {
      for (const other of document.querySelectorAll(".asrlib-card audio")) if (other !== audio) other.pause();
      audio.play().catch(fail);
    };
    const toggle = () => (audio.paused ? play() : audio.pause());
    const leave = () => {
      loop?.element.setAttribute("aria-pressed", "false");
      loop = null;
      band.hidden = true;
    };
    const repeat = (word) => {
      const again = loop === word;
      leave();
      if (again) return audio.pause();
      const around = Math.max(AROUND, (SHORTEST - (word.end - word.start)) / 2);
      word.from = Math.max(0, word.start - around);
      word.to = Math.min(duration, word.end + around);
      band.style.left = `${(100 * word.from) / duration}%`;
      band.style.width = `${(100 * (word.to - word.from)) / duration}%`;
      band.hidden = false;
      word.element.setAttribute("aria-pressed", "true");
      loop = word;
      seek(word.from);
      play();
    };
    const move = (seconds) => { // out of any loop
      leave();
      seek(seconds);
    };
    const moveTo = (event) => {
      const box = seeker.getBoundingClientRect();
      move(((event.clientX - box.left) / box.width) * duration);
    };

    button.addEventListener("click", toggle);
    half.addEventListener("click", () => {
      audio.defaultPlaybackRate = audio.playbackRate = audio.playbackRate === 1 ? 0.5 : 1;
      half.setAttribute("aria-pressed", audio.playbackRate !== 1);
    });
    for (const word of words) word.element.addEventListener("click", () => repeat(word));
    seeker.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      seeker.setPointerCapture(event.pointerId);
      moveTo(event);
    });
    seeker.addEventListener("pointermove", (event) => {
      if (seeker.hasPointerCapture(event.pointerId)) moveTo(event);
    });
    player.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
      const press = event.key === " " || event.key === "Enter";
      if (press && event.target.closest("button")) return event.stopPropagation(); // its own click follows
      if (event.key === " ") toggle();
      else if (event.key === "ArrowLeft") move(audio.currentTime - KEY_STEP);
      else if (event.key === "ArrowRight") move(audio.currentTime + KEY_STEP);
      else if (event.key === "Escape" && loop) {
        leave();
        audio.pause();
      } else return;
      view.reveal();
      event.preventDefault();
      event.stopPropagation();
    });
    audio.addEventListener("ended", () => { // a loop may reach to the very end
      if (loop) seek(loop.from), play();
    });
    for (const name of ["play", "pause", "ended"]) audio.addEventListener(name, label);
    for (const name of ["seeked", "pause"]) audio.addEventListener(name, announce);
    audio.addEventListener("timeupdate", wrap); // in a hidden page, which draws no frames
    audio.addEventListener("error", (event) => (audio.src === stored ? fail(event) : use(stored)));
    const rate = Number(player.dataset.rate); // of an MP3
    if (rate) toWave(audio, rate, Math.round(duration * rate)).then(use, () => {});
    label();
    announce();
  }

  for (const player of document.querySelectorAll(".asrlib-player:not([data-ready])")) {
    player.dataset.ready = "true";
    setUp(player);
  }
})();
