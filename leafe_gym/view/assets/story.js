const pathOf = (tree, branch) => [...branch.prefix.flatMap(([number, count]) => tree.branches[number].steps.slice(0, count)), ...branch.steps];

// The failed attempt, the way back, and what was done instead.
function story(tree, row) {
  const branch = tree.branches[row], { texts } = tree;
  const own = episodeFrames(tree.start, pathOf(tree, branch), texts);
  if (branch.parent < 0 || branch.tip < 0) return own;
  const tip = words(texts[branch.tip]);
  const before = episodeFrames(tree.start, pathOf(tree, tree.branches[branch.parent]), texts);
  const kept = branch.restart ? 0 : branch.prefix.reduce((sum, [, count]) => sum + count, 0);
  const instead = branch.old < 0 ? "" : `, instead of \u201c${words(texts[branch.old])}\u201d`;
  const back = { entry: own[kept].entry, kind: "won",
    title: branch.restart ? "from the start again" : `\u21ba back to step ${branch.tau}${instead}`,
    tip: tip ? `tip: ${tip}` : "" };
  return [...before, back, ...own.slice(kept + 1)];
}

function looks(tree, branch) {
  if (!branch.looks.length) return null;
  const { texts } = tree;
  return make("details", {}, make("summary", {}, counted(branch.looks.length, "look back")),
    ...branch.looks.map(([after, reply, verdict, tau, tip, reason]) => make("div", {},
      make("div", { class: "quiet" }, `after ${counted(after, "step")}: ${verdict}${reason ? `, ${reason}` : ""}${tau < 0 ? "" : `, step ${tau}`}`),
      tip < 0 ? null : make("div", { class: "tip" }, words(texts[tip])),
      make("pre", { class: "said" }, words(texts[reply])))));
}

function treeView(place) {
  const tree = read(`tree-${place}`), box = make("div");
  const won = tree.branches.findIndex((branch) => branch.ending === "won");
  function choose(row, focus) {
    const branch = tree.branches[row];
    box.replaceChildren(
      make("h2", {}, tree.name),
      make("p", { class: "quiet" }, `${tree.solved ? "solved" : "not solved"}, ${counted(tree.branches.length, "attempt")}, ${counted(tree.spent.steps, "step")}${tree.solved_at === null ? "" : `, won after ${counted(tree.solved_at, "call")}`}`),
      tree.instruction ? make("p", {}, tree.instruction) : null,
      make("div", { class: "split" },
        graph(tree, row, (other) => choose(other, true)),
        make("div", {}, make("h2", {}, `Attempt ${row}`),
          player(story(tree, row), `step of attempt ${row}`),
          branch.reason ? make("p", { class: "lost" }, branch.reason) : null, looks(tree, branch))));
    if (focus) box.querySelectorAll(".branch")[row]?.focus();
  }
  choose(won < 0 ? 0 : won, false);
  return box;
}
