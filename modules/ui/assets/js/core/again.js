// Retries an action later: one timer, and a pause that doubles after each failure.

const FIRST = 1000; // milliseconds
const LONGEST = 15000;

export class Again {
  constructor() {
    this.timer = 0;
    this.worked();
  }

  // Calls action() after that many milliseconds, instead of the action scheduled before.
  in(milliseconds, action) {
    this.stop();
    this.timer = setTimeout(action, milliseconds);
  }

  // Schedules action() after a failure.
  retry(action) {
    this.in(this.pause, action);
    this.pause = Math.min(this.pause * 2, LONGEST);
  }

  // Cancels whatever is scheduled.
  stop() {
    clearTimeout(this.timer);
  }

  // It has worked, or is likely to: the next pause is short again.
  worked() {
    this.pause = FIRST;
  }
}
