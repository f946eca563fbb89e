// Which known word somebody meant. Case, hyphens and underscores do not count; two slips do not hide a word of some length.

/** Edit distance with transpositions of neighbours (optimal string alignment). */
function distance(a: string, b: string): number {
  let [before, last] = [[] as number[], Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row[j] = Math.min(
        (last[j] ?? 0) + 1,
        (row[j - 1] ?? 0) + 1,
        (last[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1),
        swapped ? (before[j - 2] ?? 0) + 1 : Number.POSITIVE_INFINITY,
      );
    }
    [before, last] = [last, row];
  }
  return last[b.length] ?? 0;
}

const bare = (word: string): string => word.toLowerCase().replaceAll(/[-_ ]/g, '');

/** The word that was meant; null if none is near. */
export function nearest(given: string, known: readonly string[]): string | null {
  const asked = bare(given);
  if (asked === '' || asked.length > 40) return null;
  const longer = asked.length >= 3 ? known.filter((word) => bare(word).startsWith(asked)) : [];
  if (longer.length === 1) return longer[0] ?? null;
  const ranked = known.map((word) => ({ word, far: distance(asked, bare(word)) })).sort((a, b) => a.far - b.far);
  const [best] = ranked;
  if (best === undefined) return null;
  const length = Math.min(asked.length, bare(best.word).length);
  return best.far <= (length <= 3 ? 1 : 2) && best.far < length ? best.word : (longer[0] ?? null);
}
