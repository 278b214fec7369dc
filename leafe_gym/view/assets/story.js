const pathOf = (tree, branch) => [...branch.prefix.flatMap(([number, count]) => tree.branches[number].steps.slice(0, count)), ...branch.steps];

// {frames, first}: the parent's attempt, the rollback, and what was done instead. `first` is the
// frame of the rollback, where the experience is shown.
function story(tree, row) {
  const branch = tree.branches[row], { texts } = tree;
  const own = episodeFrames(tree.start, pathOf(tree, branch), texts);
  if (branch.parent < 0) return { frames: own, first: 0 };
  const experience = branch.experience < 0 ? "" : `experience: ${words(texts[branch.experience])}`;
  const before = episodeFrames(tree.start, pathOf(tree, tree.branches[branch.parent]), texts);
  const kept = branch.restart ? 0 : branch.prefix.reduce((sum, [, count]) => sum + count, 0);
  const instead = branch.old < 0 ? "" : `, instead of \u201c${words(texts[branch.old])}\u201d`;
  const back = { entry: own[kept].entry, kind: "won", experience,
    title: branch.restart ? "a new attempt from the start" : `\u21ba rolled back to action ${branch.tau}${instead}` };
  return { frames: [...before, back, ...own.slice(kept + 1)], first: before.length };
}

function reflections(tree, branch) {
  if (!branch.reflections.length) return null;
  const { texts } = tree;
  return make("details", {}, make("summary", {}, counted(branch.reflections.length, "reflection")),
    ...branch.reflections.map(([after, reply, verdict, tau, experience, reason]) => make("div", {},
      make("div", { class: "quiet" }, `after ${counted(after, "turn")}: ${verdict}${reason ? `, ${reason}` : ""}${tau < 0 ? "" : `, action ${tau}`}`),
      experience < 0 ? null : make("div", { class: "experience" }, words(texts[experience])),
      make("pre", { class: "said" }, words(texts[reply])))));
}

function treeView(place) {
  const tree = read(`tree-${place}`), box = make("div");
  const won = tree.branches.findIndex((branch) => branch.ending === "won");
  function choose(row, focus) {
    const branch = tree.branches[row], { frames, first } = story(tree, row);
    box.replaceChildren(
      make("h2", {}, tree.name),
      make("p", { class: "quiet" }, `${tree.solved ? "solved" : "not solved"}, ${counted(tree.branches.length, "attempt")}, ${counted(tree.spent.steps, "step")}${tree.solved_at === null ? "" : `, won after ${counted(tree.solved_at, "interaction")}`}`),
      tree.instruction ? make("p", {}, tree.instruction) : null,
      make("div", { class: "split" },
        graph(tree, row, (other) => choose(other, true)),
        make("div", {}, make("h2", {}, `Attempt ${row}`),
          player(frames, `step of attempt ${row}`, tree.tiles, first),
          branch.reason ? make("p", { class: "lost" }, branch.reason) : null, reflections(tree, branch))));
    if (focus) box.querySelectorAll(".branch")[row]?.focus();
  }
  choose(won < 0 ? 0 : won, false);
  return box;
}
