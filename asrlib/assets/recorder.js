// The recorder's card, an anywidget: microphone or file -> 16 kHz, mono, float32 -> the kernel, in one binary message.
// The sound is never part of the widget's state, which a notebook file could keep.
const RATE = 16000; // Hz, as asrlib.audio.SAMPLE_RATE
const QUIET = 0.05; // clear speech peaks between these two, of full scale
const LOUD = 0.95;
const ZONES = ["too quiet", "good", "too loud"];
const zone = (peak) => (peak < QUIET ? 0 : peak > LOUD ? 2 : 1);

const SHAPES = { Record: '<circle cx="7" cy="7" r="6"/>', Stop: '<path d="M1 1h12v12H1z"/>', "Wait\u2026": "" };
const MARKUP = `
<div class="asrlib-head"><div class="asrlib-title">Record your voice</div><div class="asrlib-facts"></div></div>
<div class="asrlib-deck">
  <button type="button"></button>
  <div class="asrlib-level">
    <div class="asrlib-meter" role="meter" aria-label="Level" aria-valuemin="0" aria-valuemax="100"><div class="asrlib-fill"></div></div>
    <div class="asrlib-zones" aria-hidden="true">${ZONES.map((name) => `<span>${name}</span>`).join("")}</div>
  </div>
</div>
<p class="asrlib-status" role="status"></p>
<label class="asrlib-choose" hidden>Choose a sound file<input type="file" accept="audio/*"></label>
<audio controls aria-label="What was recorded" hidden></audio>
<p class="asrlib-note"></p>`;

const REASONS = {
  insecure: "Browsers give a microphone only to https pages and to localhost; this page is neither. Choose a sound file instead.",
  unable: "This browser cannot record. Choose a sound file instead.",
  NotAllowedError: "The microphone is not allowed here. Allow it beside the page's address and press Record again, or choose a sound file. "
    + "VS Code gives notebooks no microphone: there, choose a file or open the notebook in a browser.",
  NotFoundError: "No microphone was found. Plug one in and press Record again, or choose a sound file.",
  NotReadableError: "Another program holds the microphone. Close it and press Record again, or choose a sound file.",
};

/** Decode to {samples, seconds}: the mean of the channels at RATE, at most `limit` seconds of all `seconds`. */
async function decode(blob, limit) {
  const context = new OfflineAudioContext(1, 1, RATE); // decoding resamples to the context's rate
  const sound = await context.decodeAudioData(await blob.arrayBuffer());
  const samples = new Float32Array(Math.min(sound.length, Math.round(limit * RATE)));
  for (let channel = 0; channel < sound.numberOfChannels; channel++) {
    const values = sound.getChannelData(channel);
    for (let i = 0; i < samples.length; i++) samples[i] += values[i] / sound.numberOfChannels;
  }
  return { samples, seconds: sound.duration };
}

/** Write 16-bit WAV as a data URI: what plays is what the kernel got, and a recording as such has no length to seek in. */
function wav(samples) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const words = (at, text) => [...text].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  words(0, "RIFF"); view.setUint32(4, 36 + 2 * samples.length, true); words(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true); // PCM, one channel
  view.setUint32(24, RATE, true); view.setUint32(28, 2 * RATE, true); view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  words(36, "data"); view.setUint32(40, 2 * samples.length, true);
  samples.forEach((value, i) => view.setInt16(44 + 2 * i, Math.max(-1, Math.min(1, value)) * 32767, true));
  return new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.readAsDataURL(new Blob([view], { type: "audio/wav" }));
  });
}

function render({ model, el }) {
  const limit = model.get("max_seconds");
  const root = document.createElement("div");
  root.className = "asrlib-card asrlib-recorder";
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Recorder");
  root.innerHTML = MARKUP; // a constant; all other text goes in as textContent
  el.append(root);
  const [button, level, meter, fill, status, choose, file, audio, clock] = ["button", ".asrlib-level", ".asrlib-meter",
    ".asrlib-fill", ".asrlib-status", ".asrlib-choose", "input", "audio", ".asrlib-facts"].map((name) => root.querySelector(name));
  root.querySelector(".asrlib-note").textContent = model.get("privacy");

  let live = null; // while it records: {recorder, stream, context, timer}
  let gone = false; // the card was taken off the page

  const say = (text) => { status.textContent = text; };
  const label = (word) => {
    button.innerHTML = `<svg viewBox="0 0 14 14" aria-hidden="true">${SHAPES[word]}</svg>${word}`;
    button.setAttribute("aria-disabled", word === "Wait\u2026"); // disabled would lose the keyboard's focus
  };
  const time = (seconds) => { clock.textContent = `${Math.min(seconds, limit).toFixed(1)} / ${limit} s`; };
  const showLevel = (peak) => { // null: nothing to show
    const now = peak === null ? -1 : zone(peak);
    const percent = Math.round(100 * Math.cbrt(Math.min(1, peak ?? 0))); // ears hear ratios: small peaks get room
    fill.style.width = `${percent}%`;
    level.dataset.zone = now;
    meter.setAttribute("aria-valuenow", percent);
    meter.setAttribute("aria-valuetext", ZONES[now] ?? "not recording");
    root.querySelectorAll(".asrlib-zones span").forEach((name, i) => name.classList.toggle("asrlib-now", i === now));
  };
  const fail = (reason) => {
    label("Record");
    say(REASONS[reason] ?? `The microphone did not start (${reason}). Try again, or choose a sound file.`);
    choose.hidden = false;
  };

  const release = () => {
    if (!live) return;
    clearTimeout(live.timer);
    live.stream.getTracks().forEach((track) => track.stop()); // puts out the browser's red sign
    live.context?.close();
    live = null;
    showLevel(null);
  };

  function follow() {
    const analyser = live.context.createAnalyser();
    live.context.createMediaStreamSource(live.stream).connect(analyser);
    const recent = new Float32Array(analyser.fftSize); // 2048 samples, 43 ms at 48 kHz
    const { recorder } = live, started = performance.now();
    let shown = 0, before = started;
    const look = (now) => {
      if (live?.recorder !== recorder) return;
      analyser.getFloatTimeDomainData(recent);
      const fallen = shown * 0.5 ** ((now - before) / 300); // falls slowly: a pause between words is not "too quiet"
      shown = Math.max(fallen, recent.reduce((peak, value) => Math.max(peak, Math.abs(value)), 0));
      before = now;
      showLevel(shown);
      time((now - started) / 1000);
      requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  }

  async function start() {
    if (!window.isSecureContext) return fail("insecure");
    if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) return fail("unable");
    label("Wait\u2026");
    say("Your browser asks whether this page may use the microphone: allow it.");
    try {
      live = { stream: await navigator.mediaDevices.getUserMedia({ audio: true }) };
      live.recorder = new MediaRecorder(live.stream);
      live.context = new AudioContext();
    } catch (error) {
      release();
      return fail(error.name);
    }
    if (gone) return release();
    const chunks = [], { recorder } = live;
    recorder.addEventListener("dataavailable", (event) => chunks.push(event.data));
    recorder.addEventListener("stop", () => { // by the button, by the timer, or because the microphone was unplugged
      release();
      if (!gone) deliver(new Blob(chunks, { type: recorder.mimeType }), "the recording");
    });
    recorder.start();
    live.timer = setTimeout(() => recorder.stop(), 1000 * limit);
    audio.pause(); // it would be recorded, too
    follow();
    label("Stop");
    say("Recording. Press Stop when you are done.");
  }

  async function deliver(blob, name) {
    label("Wait\u2026");
    audio.hidden = true;
    let sound;
    try {
      sound = await decode(blob, limit);
    } catch (error) {
      label("Record");
      return say(`This browser cannot read ${name} as sound. Try again; files: WAV, MP3, OGG, FLAC or M4A.`);
    }
    const { samples, seconds } = sound;
    time(samples.length / RATE);
    audio.src = await wav(samples);
    audio.hidden = false;
    say("On its way to the kernel, which takes it as soon as no cell runs.");
    label("Record");
    model.send({ name, seconds }, undefined, [samples.buffer]);
  }

  const answered = (message) => say(message.text);
  model.on("msg:custom", answered);
  button.addEventListener("click", () => {
    if (button.ariaDisabled === "true") return;
    if (live) live.recorder.stop();
    else start();
  });
  file.addEventListener("change", () => {
    if (file.files.length) deliver(file.files[0], file.files[0].name);
    file.value = ""; // the same file again is a change, too
  });
  root.addEventListener("keydown", (event) => { // JupyterLab has shortcuts on these keys
    if (event.key === " " || event.key === "Enter") event.stopPropagation();
  });

  time(0);
  showLevel(null);
  label("Record");
  say(`Press Record and read a sentence aloud. It stops by itself after ${limit} s.`);
  if (!window.isSecureContext) fail("insecure");
  return () => {
    gone = true;
    model.off("msg:custom", answered);
    release();
  };
}
export default { render };
