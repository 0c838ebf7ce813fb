// Sets up every training film on the page that is not set up yet; all data stands in its own JSON element.
(() => {
  const PAUSE = 250; // milliseconds a moment, when playing: forty take ten seconds
  const SHAPES = { Play: "M2 1v12l11-6z", Pause: "M2 1h4v12H2zM8 1h4v12H8z" };
  const CURVES = [ // how a number is shown
    { key: "blank", name: "blank frames", top: 1, show: (value) => `${(100 * value).toFixed(0)} %` },
    { key: "loss", name: "loss (nats a letter)", show: (value) => value.toFixed(2) },
    { key: "norm", name: "gradient norm", show: (value) => value.toFixed(2) },
  ];

  function make(tag, name, attributes = {}, ...children) {
    const element = document.createElement(tag);
    if (name) element.className = `asrlib-${name}`;
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  // Cut a text into runs of letters that are wrong, right, wrong, and so on; the right ones are underlined.
  function marked(text, runs) {
    const letters = [...text]; // as Python counts them
    return runs.map((length, i) => {
      const part = letters.splice(0, length).join("");
      return i % 2 ? make("u", "", {}, part) : part;
    });
  }

  function setUp(card) {
    const data = JSON.parse(card.querySelector(".asrlib-data").textContent);
    const { steps } = data, last = steps.length - 1;
    let at = last, clip = data.clip, timer = 0;

    const button = (word, does, attributes = {}) => {
      const element = make("button", "quiet", { type: "button", ...attributes }, word);
      element.addEventListener("click", does);
      return element;
    };
    const labels = data.labels.map((label) => make("span", "", { "data-label": label }));
    const canvas = make("canvas", "", { role: "img", height: labels.length });
    const frames = make("span"), said = make("p", "text", { dir: "auto" });
    const wrote = make("p", "text", { dir: "auto" }), longest = make("p", "text asrlib-longest", { "aria-hidden": "true" });
    const errors = make("b");
    const clips = data.clips.map((_, i) => button(i + 1, () => choose(i), { "aria-label": `Clip ${i + 1}` }));
    const play = button("", () => (timer ? stop() : start()));
    play.className = "asrlib-play";
    const slider = make("input", "", { type: "range", min: 0, max: last, "aria-label": "Training step" });
    slider.addEventListener("input", () => go(Number(slider.value)));
    const step = make("b", "step"); // no <output>: that would be read aloud at every moment of the film
    const curves = CURVES.map((curve) => addCurve(curve));

    card.querySelector(".asrlib-static").replaceWith(
      make("div", "clips", { role: "group", "aria-label": "Clip" }, make("span", "", {}, "clip"), ...clips),
      make("div", "figure", {}, make("div", "scale", { "aria-hidden": "true" }, ...labels), canvas,
        make("div", "axis", { "aria-hidden": "true" }, make("span", "", {}, "time \u2192"), frames)),
      make("p", "legend", {}, make("span", "likely", {}, "bright: a likely symbol"),
        make("span", "ground", {}, "gray: the blank is likeliest"), make("span", "", {}, "\u2423 space, - blank")),
      make("div", "texts", {}, make("span", "", {}, "said"), said, make("span", "", {}, "wrote"), make("div", "written", {}, wrote, longest),
        make("p", "errors", {}, errors, make("span", "", {}, "right letters are underlined"))),
      make("div", "controls", {}, play, button("Reset", () => go(0)), slider, step),
      make("div", "curves", {}, ...curves.map((curve) => curve.element)));
    const notes = make("p", "legend", {}, make("span", "", {}, "curves: the training batch of that step"));
    if (data.plateau) notes.prepend(make("span", "plateau", {}, data.plateau.label));
    card.querySelector(".asrlib-curves").after(notes);

    // All pictures of a clip lie side by side in one.
    const sprites = data.clips.map(({ sprite }) => {
      const image = new Image();
      image.addEventListener("load", () => show(at));
      image.src = sprite;
      return image;
    });

    // Where a step lies on the curves, in percent.
    function place(value) {
      return last ? (100 * (value - steps[0])) / (steps[last] - steps[0]) : 0;
    }

    function addCurve({ key, name, top, show: format }) {
      const values = data[key], known = values.filter((value) => value !== null);
      const highest = top ?? Math.max(...known, 1e-9);
      const y = (value) => 100 - (100 * value) / highest;
      let path = "", pen = "M"; // a value that is missing leaves a gap
      values.forEach((value, i) => {
        if (value !== null) path += `${pen}${place(steps[i]).toFixed(2)} ${y(value).toFixed(2)}`;
        pen = value === null ? "M" : "L";
      });
      const plot = make("div", "plot", { "aria-hidden": "true" });
      plot.innerHTML = '<svg viewBox="0 0 100 100" preserveAspectRatio="none"><path/></svg>';
      plot.querySelector("path").setAttribute("d", path);
      if (data.plateau) {
        const [from, to] = data.plateau.steps.map(place), band = make("div", "plateau");
        band.style.cssText = `left: ${from}%; width: ${to - from}%`;
        plot.prepend(band);
      }
      const marker = make("div", "marker"), dot = make("div", "dot"), shown = make("b");
      plot.append(marker, dot);
      const moveTo = (event) => {
        const box = plot.getBoundingClientRect();
        const wanted = 100 * ((event.clientX - box.left) / box.width);
        const distances = steps.map((value) => Math.abs(place(value) - wanted));
        go(distances.indexOf(Math.min(...distances)));
      };
      plot.addEventListener("pointerdown", (event) => {
        if (event.button !== 0) return;
        plot.setPointerCapture(event.pointerId);
        moveTo(event);
      });
      plot.addEventListener("pointermove", (event) => {
        if (plot.hasPointerCapture(event.pointerId)) moveTo(event);
      });
      const range = make("div", "range", { "aria-hidden": "true" }, make("span", "", {}, `step ${steps[0]}`), make("span", "", {}, steps[last]));
      const element = make("div", "curve", {}, make("p", "", {}, make("span", "", {}, top ? name : `${name}, up to ${format(highest)}`), shown), plot, range);
      return { element, draw: () => {
        const value = values[at];
        shown.textContent = value === null ? "not finite" : format(value);
        shown.dataset.value = value;
        marker.style.left = dot.style.left = `${place(steps[at])}%`;
        dot.style.top = `${y(value)}%`;
        dot.hidden = value === null;
      } };
    }

    function stop() {
      clearInterval(timer);
      timer = 0;
      label();
    }
    function start() {
      if (at === last) show(0);
      timer = setInterval(() => {
        if (!card.isConnected) return stop(); // the notebook took the output away
        show(Math.min(at + 1, last));
        if (at === last) stop();
      }, PAUSE);
      label();
    }
    function label() {
      const word = timer ? "Pause" : "Play";
      play.innerHTML = `<svg viewBox="0 0 14 14" aria-hidden="true"><path d="${SHAPES[word]}"/></svg>${word}`;
    }
    function go(moment) {
      stop();
      show(Math.max(0, Math.min(moment, last)));
    }

    function choose(number) {
      clip = number;
      clips.forEach((element, i) => element.setAttribute("aria-pressed", i === clip));
      const { states, frames: width } = data.clips[clip];
      frames.textContent = `${width} frames`;
      canvas.width = width;
      // As high as the longest text of all moments, so that nothing below jumps.
      longest.textContent = states.reduce((text, state) => (state.text.length > text.length ? state.text : text), "-");
      show(at);
    }

    function show(moment) {
      at = moment;
      const { truth, states, characters, frames: width } = data.clips[clip], sprite = sprites[clip];
      const state = states[at], { text } = state;
      if (sprite.complete) canvas.getContext("2d").drawImage(sprite, -at * width, 0);
      const blanks = `the blank is likeliest in ${state.blanks} of ${width} frames`;
      canvas.setAttribute("aria-label", `Probabilities of ${labels.length} symbols after step ${steps[at]}; ${blanks}`);
      said.replaceChildren(...marked(truth, state.said));
      wrote.replaceChildren(...(text.trim() ? marked(text, state.wrote) : [make("i", "", {}, text ? "spaces, no letter" : "blanks, no letter")]));
      errors.textContent = `${state.errors} of ${characters} characters wrong`;
      slider.value = at;
      slider.setAttribute("aria-valuetext", `step ${steps[at]}: ${state.errors} of ${characters} characters wrong`);
      step.textContent = `step ${steps[at]}`;
      for (const curve of curves) curve.draw();
    }

    card.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
      const moments = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last };
      const presses = event.key === " " || event.key === "Enter";
      if (presses && event.target.matches("button")) return event.stopPropagation(); // its own click follows
      if (event.key in moments) go(moments[event.key]);
      else if (event.key === " ") play.click();
      else return;
      event.preventDefault();
      event.stopPropagation(); // the notebook has meanings of its own for these
    });
    label();
    choose(clip);
  }

  for (const card of document.querySelectorAll(".asrlib-film:not([data-ready])")) {
    card.dataset.ready = "true";
    setUp(card);
  }
})();
