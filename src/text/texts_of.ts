/** The texts in plain data. */

/** All strings of plain data, names of members included; scalars and signs between them are left out. */
export function textsOf(data: unknown): string[] {
  const texts: string[] = [];
  const open: unknown[] = [data];
  while (open.length > 0) {
    const value = open.pop();
    if (typeof value === "string") texts.push(value);
    else if (Array.isArray(value)) { for (const one of value) if (typeof one !== "number") open.push(one); }
    else if (typeof value === "object" && value !== null) {
      for (const [name, one] of Object.entries(value)) {
        texts.push(name);
        open.push(one);
      }
    }
  }
  return texts;
}
