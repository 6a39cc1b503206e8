/** Stacks of the automaton as linked frames, each kept once: equal stacks have equal numbers. */

/** Numbers below 0 are bottoms: what lies under them is not known here. Frames count from 0. */
export class Frames {
  /** Of a rule's frame the state it returns to, of a counter the head of its loop; [frames]. */
  state = new Int32Array(64);
  /** Rounds counted; 0 for rules. */
  count = new Int32Array(64);
  /** The frame below. */
  below = new Int32Array(64);
  #slots = new Int32Array(256);
  #size = 0;

  /** Frames so far. */
  get size(): number {
    return this.#size;
  }

  /** The frame with this content on top of `below`. */
  push(state: number, count: number, below: number): number {
    const mask = this.#slots.length - 1;
    let slot = hash(state, count, below) & mask;
    for (let frame; (frame = this.#slots[slot]! - 1) >= 0; slot = (slot + 1) & mask) {
      if (this.state[frame] === state && this.count[frame] === count && this.below[frame] === below) return frame;
    }
    const frame = this.#size++;
    if (frame === this.state.length) this.#grow();
    this.state[frame] = state;
    this.count[frame] = count;
    this.below[frame] = below;
    this.#slots[slot] = frame + 1;
    if (2 * this.#size > this.#slots.length) this.#rehash();
    return frame;
  }

  /** A store with only what these frames stand on; replaces them by their new numbers. */
  compacted(frames: Int32Array): Frames {
    const store = new Frames();
    const moved = new Map<number, number>();
    for (const [i, top] of frames.entries()) {
      const way: number[] = [];
      let at = top;
      for (; at >= 0 && !moved.has(at); at = this.below[at]!) way.push(at);
      let below = at < 0 ? at : moved.get(at)!;
      for (const frame of way.toReversed()) {
        below = store.push(this.state[frame]!, this.count[frame]!, below);
        moved.set(frame, below);
      }
      frames[i] = below;
    }
    return store;
  }

  /** Forgets all frames. */
  clear(): void {
    this.#size = 0;
    this.#slots.fill(0);
  }

  #grow(): void {
    const grown = (from: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> => {
      const to = new Int32Array(2 * from.length);
      to.set(from);
      return to;
    };
    this.state = grown(this.state);
    this.count = grown(this.count);
    this.below = grown(this.below);
  }

  #rehash(): void {
    this.#slots = new Int32Array(2 * this.#slots.length);
    const mask = this.#slots.length - 1;
    for (let frame = 0; frame < this.#size; frame++) {
      let slot = hash(this.state[frame]!, this.count[frame]!, this.below[frame]!) & mask;
      while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
      this.#slots[slot] = frame + 1;
    }
  }
}

function hash(state: number, count: number, below: number): number {
  const mixed = Math.imul(state, 0x9e3779b1) ^ Math.imul(count + 1, 0x85ebca77) ^ Math.imul(below + 3, 0xc2b2ae3d);
  return mixed ^ (mixed >>> 15);
}
