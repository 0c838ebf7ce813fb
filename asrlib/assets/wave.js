  // In Chromium the sound of an MP3 is 1105 samples late after a jump (the encoder's delay, which it knows to skip at
  // the start only): decoded once and kept as WAV, it is exact.
  async function toWave(audio, rate, length) {
    const bytes = Uint8Array.from(atob(audio.src.split(",")[1]), (character) => character.charCodeAt(0));
    const sound = await new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes.buffer);
    const start = sound.length > length ? 1105 : 0; // at some rates it skips nothing
    const samples = Int16Array.from(sound.getChannelData(0).subarray(start, start + length), (x) => 32767 * Math.max(-1, Math.min(x, 1)));
    const size = 2 * samples.length; // the words of the header: RIFF, WAVE, fmt (16 bytes: PCM, mono), data
    const header = [0x46464952, 36 + size, 0x45564157, 0x20746d66, 16, 0x10001, rate, 2 * rate, 0x100002, 0x61746164, size];
    return URL.createObjectURL(new Blob([new Uint32Array(header), samples], { type: "audio/wav" }));
  }

  function swap(audio, source) { // go on where it is
    const { currentTime, paused } = audio;
    audio.src = source;
    audio.currentTime = currentTime;
    return paused ? Promise.resolve() : audio.play();
  }
