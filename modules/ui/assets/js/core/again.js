// What is tried again later: one timer, and after each failure a pause twice as long as the one before.

const FIRST = 1000; // milliseconds
const LONGEST = 15000;

export class Again {
  constructor() {
    this.timer = 0;
    this.worked();
  }

  // action() after so many milliseconds, in place of what was to be done before.
  in(milliseconds, action) {
    this.stop();
    this.timer = setTimeout(action, milliseconds);
  }

  // action() after a failure.
  retry(action) {
    this.in(this.pause, action);
    this.pause = Math.min(this.pause * 2, LONGEST);
  }

  // Nothing is waited for any more.
  stop() {
    clearTimeout(this.timer);
  }

  // It has worked, or there is reason to hope so: the next pause is a short one.
  worked() {
    this.pause = FIRST;
  }
}
