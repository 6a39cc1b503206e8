/** Python's `strftime` in the C locale, for templates that write today's date. */

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December",
];

function pad(value: number, width = 2, fill = "0"): string {
  return String(value).padStart(width, fill);
}

function dayOfYear(date: Date): number {
  const days = Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - Date.UTC(date.getFullYear(), 0, 0);
  return Math.round(days / 86_400_000);
}

/** One directive; undefined for a letter without a meaning. */
function directive(date: Date, letter: string): string | undefined {
  const hour12 = date.getHours() % 12 || 12;
  switch (letter) {
    case "a":
      return DAYS[date.getDay()]!.slice(0, 3);
    case "A":
      return DAYS[date.getDay()]!;
    case "b":
    case "h":
      return MONTHS[date.getMonth()]!.slice(0, 3);
    case "B":
      return MONTHS[date.getMonth()]!;
    case "d":
      return pad(date.getDate());
    case "e":
      return pad(date.getDate(), 2, " ");
    case "m":
      return pad(date.getMonth() + 1);
    case "y":
      return pad(date.getFullYear() % 100);
    case "Y":
      return String(date.getFullYear());
    case "H":
      return pad(date.getHours());
    case "I":
      return pad(hour12);
    case "M":
      return pad(date.getMinutes());
    case "S":
      return pad(date.getSeconds());
    case "p":
      return date.getHours() < 12 ? "AM" : "PM";
    case "j":
      return pad(dayOfYear(date), 3);
    case "w":
      return String(date.getDay());
    case "F":
      return strftime(date, "%Y-%m-%d");
    case "D":
    case "x":
      return strftime(date, "%m/%d/%y");
    case "T":
    case "X":
      return strftime(date, "%H:%M:%S");
    case "R":
      return strftime(date, "%H:%M");
    case "c":
      return strftime(date, "%a %b %e %H:%M:%S %Y");
    case "%":
      return "%";
    default:
      return undefined;
  }
}

/** A date in local time by a format; `%-d` writes without padding, unknown directives stay as they are. */
export function strftime(date: Date, format: string): string {
  return format.replace(/%(-?)([A-Za-z%])/g, (whole, unpadded: string, letter: string) => {
    const text = directive(date, letter);
    if (text === undefined) return whole;
    return unpadded === "" ? text : text.replace(/^[0 ]+(?=.)/, "");
  });
}
