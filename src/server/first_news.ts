/** Knowing whether an answer fails before its head is sent. */

/**
 * The same sequence, handed on when its first piece is there or `waitMs` have passed: what fails before that rejects,
 * and so becomes a status instead of an event in a stream that began with 200.
 */
export async function withFirstNews<T>(pieces: AsyncGenerator<T>, waitMs: number): Promise<AsyncGenerator<T>> {
  const first = pieces.next();
  first.catch(() => {}); // who reads on hears of it
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<void>((resolve) => timer = setTimeout(resolve, waitMs));
  try {
    await Promise.race([first, late]);
  } finally {
    clearTimeout(timer);
  }
  return resumed(first, pieces);
}

async function* resumed<T>(
  first: Promise<IteratorResult<T>>,
  pieces: AsyncGenerator<T>,
): AsyncGenerator<T, void, undefined> {
  try {
    for (let next = await first; next.done !== true; next = await pieces.next()) yield next.value;
  } finally {
    await pieces.return(undefined);
  }
}
