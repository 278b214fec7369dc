// Frames: {entry, title, experience?, reply?, feedback?, kind?}; kind colours the title.
function player(frames, label, tiles, first = 0) {
  const view = make("div"), caption = make("div", { class: "caption", "aria-live": "polite" });
  const range = make("input", { type: "range", min: 0, max: frames.length - 1, value: 0,
    "aria-label": label, oninput: () => go(Number(range.value)) });
  let at = 0;
  function go(to) {
    at = Math.max(0, Math.min(frames.length - 1, to));
    range.value = at;
    const frame = frames[at];
    view.replaceChildren(shown(frame.entry, tiles));
    caption.replaceChildren(
      make("div", { class: frame.kind || "" }, `${at} / ${frames.length - 1}  ${frame.title}`),
      ...(frame.experience ? [make("div", { class: "experience" }, frame.experience)] : []),
      ...(frame.feedback ? [make("div", { class: "quiet" }, frame.feedback)] : []),
      ...(frame.reply ? [make("pre", { class: "said" }, frame.reply)] : []));
  }
  go(first);
  const back = make("button", { type: "button", "aria-label": "one step back", onclick: () => go(at - 1) }, "\u25c0");
  const on = make("button", { type: "button", "aria-label": "one step forward", onclick: () => go(at + 1) }, "\u25b6");
  return make("div", { class: "player" }, view, make("div", { class: "row" }, back, range, on), caption);
}

function stepFrame(step, texts, number) {
  const [action, reply, observation, reward, flags, feedback] = step;
  const name = action < 0 ? "unusable reply" : words(texts[action]);
  const said = words(texts[reply]);
  const ended = flags & 4 ? ", won" : flags & 3 ? ", over" : "";
  return {
    entry: texts[observation], title: `${number}: ${name}${reward ? `, reward ${Number(reward.toFixed(3))}` : ""}${ended}`,
    kind: flags & 4 ? "won" : flags & 3 ? "lost" : "",
    reply: said === name ? "" : said, feedback: feedback < 0 ? "" : words(texts[feedback]),
  };
}

function episodeFrames(start, steps, texts) {
  let number = 0;
  return [{ entry: texts[start], title: "start" },
    ...steps.map((step) => stepFrame(step, texts, step[0] < 0 ? "-" : ++number))];
}
