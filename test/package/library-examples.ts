// The examples of docs/library.md, each under its heading, as a program of its own.

import { readFileSync } from 'node:fs';

export type Example = { readonly heading: string; readonly code: string };

const text = readFileSync(new URL('../../docs/library.md', import.meta.url), 'utf8');
/** What an example takes for granted that does not begin with imports. */
const TAKEN = "import { run } from 'cbit';\n";
const IMAGE = 'declare const image: { readonly name: string; readonly bytes: Uint8Array };\n';

export const libraryExamples: readonly Example[] = text.split(/^#+ /m).flatMap((section) => {
  const heading = section.slice(0, section.indexOf('\n'));
  return Array.from(section.matchAll(/^```ts\n(.*?)^```$/gms), ([, code = '']) => ({
    heading,
    code: `${code.startsWith('import') ? '' : TAKEN}${/const image\b/.test(code) ? '' : IMAGE}${code}`,
  }));
});
