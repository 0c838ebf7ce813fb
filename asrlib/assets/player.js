// Sets up every player on the page that is not set up yet. The same text stands behind each player: it holds no
// data of its own (all of it is in the markup), defines no global, and needs no id.
(() => {
  const KEY_STEP = 0.25; // seconds
  const SHAPES = { Play: "M2 1v12l11-6z", Pause: "M2 1h4v12H2zM8 1h4v12H8z" };

  function make(tag, name, attributes = {}) {
    const element = document.createElement(tag);
    element.className = `asrlib-${name}`;
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  }

  function setUp(player) {
    const audio = player.querySelector("audio");
    if (!audio) return; // the sound was not stored: the pictures and the text remain
    const figure = player.querySelector(".asrlib-figure");
    const duration = Number(player.dataset.duration);

    const cursor = make("div", "cursor");
    const seeker = make("div", "seek", {
      role: "slider", tabindex: "0", "aria-label": "Position", "aria-valuemin": "0",
      "aria-valuemax": duration.toFixed(2), "aria-keyshortcuts": "Space ArrowLeft ArrowRight",
    });
    const button = make("button", "play", { type: "button" });
    const clock = make("span", "clock");
    const hint = make("span", "hint", { "data-label": "space: play or pause \u00b7 \u2190 \u2192: 0.25 s" });
    const controls = make("div", "controls");
    seeker.append(cursor);
    figure.append(seeker);
    controls.append(button, clock, hint);
    figure.after(controls);
    audio.controls = false;

    let frame = 0;
    const draw = () => {
      const seconds = Math.min(audio.currentTime, duration);
      cursor.style.left = `${(100 * seconds) / duration}%`;
      clock.textContent = `${seconds.toFixed(2)} / ${duration.toFixed(2)} s`;
    };
    const follow = () => {
      draw();
      cancelAnimationFrame(frame);
      if (!audio.paused) frame = requestAnimationFrame(follow);
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
      clock.textContent = "this browser cannot play the sound";
      audio.controls = true;
    };
    const seek = (seconds) => {
      audio.currentTime = Math.max(0, Math.min(seconds, duration));
      draw();
      announce();
    };
    const toggle = () => {
      if (!audio.paused) return audio.pause();
      for (const other of document.querySelectorAll(".asrlib-player audio")) if (other !== audio) other.pause();
      audio.play().catch(fail);
    };
    const seekTo = (event) => {
      const box = seeker.getBoundingClientRect();
      seek(((event.clientX - box.left) / box.width) * duration);
    };

    button.addEventListener("click", toggle);
    seeker.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      seeker.setPointerCapture(event.pointerId);
      seekTo(event);
    });
    seeker.addEventListener("pointermove", (event) => {
      if (seeker.hasPointerCapture(event.pointerId)) seekTo(event);
    });
    player.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
      if (event.target === button && (event.key === " " || event.key === "Enter")) return event.stopPropagation(); // its own click follows
      if (event.key === " ") toggle();
      else if (event.key === "ArrowLeft") seek(audio.currentTime - KEY_STEP);
      else if (event.key === "ArrowRight") seek(audio.currentTime + KEY_STEP);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    for (const name of ["play", "pause", "ended"]) audio.addEventListener(name, label);
    for (const name of ["seeked", "timeupdate", "pause"]) audio.addEventListener(name, announce);
    audio.addEventListener("error", fail);
    label();
    announce();
  }

  for (const player of document.querySelectorAll(".asrlib-player:not([data-ready])")) {
    player.dataset.ready = "true";
    setUp(player);
  }
})();
