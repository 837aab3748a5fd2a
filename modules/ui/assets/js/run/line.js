// What the page says about the jobs of one tab that run and wait.

const jobs = (count) => `${count} waiting ${count === 1 ? "job" : "jobs"}`;

// The mark on Generate: how many jobs there are, and whether they go on by themselves. One job has its progress bar.
export const badge = (count, isEndless) =>
  [count > 1 ? String(count) : "", isEndless ? "∞" : ""].filter(Boolean).join(" ");

// What "interrupt all" has done; waiting: how many jobs were cancelled.
export function endedText(waiting, wasEndless) {
  const parts = [
    "The running job is interrupted",
    waiting ? `${jobs(waiting)} ${waiting === 1 ? "is" : "are"} cancelled` : "",
    wasEndless ? "Generate forever is off" : "",
  ].filter(Boolean);
  const last = parts.pop();
  return `${parts.length ? `${parts.join(", ")} and ` : ""}${last}.`;
}

// Whether "Generate forever" sends the form again: the jobs are done, and the last one was not a failure, which would
// only be repeated.
export const goesOn = (isEndless, count, ended) => isEndless && count === 0 && ended === "finished";
