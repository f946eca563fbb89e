// What a guest reads of an answer, and when: each level that has executed VMGEXIT has a window on the page until it asks for the next thing or returns.

import { GhcbResponse } from '../arch/ghcb.ts';
import type { Report } from './facts.ts';
import { BITMAP, isQuadValid, layout, quadOf, spelled } from './page-image.ts';
import { info1Of } from './answer-rules.ts';
import { isOfMachine, rowOf } from './protocol.ts';
import type { Level, Window } from './state.ts';

/** Why a window is judged: the guest clears the bitmap; the level makes another request, which gives up or not; it returns, with the instruction done or not. */
export type Closing =
  | { readonly why: 'clear' }
  | { readonly why: 'next'; readonly givesUp: boolean }
  | { readonly why: 'end'; readonly done: boolean };

const info1 = layout.swExitInfo1.offset;
const info2 = layout.swExitInfo2.offset;

export function judgeWindow(level: Level, window: Window, closing: Closing, report: Report): void {
  if (window.answer === null) return;
  if (!window.over) judgeFields(window, report);
  window.over = true;
  if (closing.why === 'clear') return;
  judgeInfo1(level, window, closing, report);
  judgeException(window, closing, report);
}

function returnedFields(window: Window) {
  return rowOf(window.request)?.returns ?? [];
}

function judgeFields(window: Window, report: Report): void {
  const { request, read, readers } = window;
  for (const field of returnedFields(window)) {
    const quad = quadOf(layout[field].offset);
    const reader = readers.get(quad);
    if (reader === undefined || read[BITMAP.start + (quad >>> 3)] === 1) continue;
    const fact = window.answer !== null && isQuadValid(window.answer, quad) ? 'was set this time' : 'is clear';
    report('unchecked-valid-bit', reader, request.name, `${spelled(field)} was read; its valid bit, which ${fact}, never`);
  }
}

function judgeInfo1(level: Level, { request, rip, read, readers, ...window }: Window, closing: Closing, report: Report): void {
  if (isOfMachine(request.code) || read.subarray(info1, info1 + 4).includes(1)) return;
  const fields = [...(rowOf(request)?.returns ?? []), ...(rowOf(request)?.result === undefined ? [] : (['swExitInfo2'] as const))];
  const user = fields.map((field) => readers.get(quadOf(layout[field].offset))).find((reader) => reader !== undefined);
  const goesOn = level.vc !== null && (closing.why === 'next' ? !closing.givesUp : closing.why === 'end' && closing.done);
  if (user === undefined && !goesOn) return;
  const said = window.answer === null ? GhcbResponse.OK : info1Of(window.answer);
  report('unchecked-info1', user ?? rip, request.name, `nobody looked at SW_EXITINFO1, which was ${said}, and the guest went on`);
}

/** The vector of an exception was read, and neither its type nor its valid bit. */
function judgeException({ request, rip, read, readers, answer }: Window, closing: Closing, report: Report): void {
  if (answer === null || info1Of(answer) !== GhcbResponse.EXCEPTION || (closing.why === 'next' && closing.givesUp)) return;
  if (read[info2] !== 1 || (read[info2 + 1] === 1 && read[info2 + 3] === 1)) return;
  report(
    'exception-unchecked',
    readers.get(quadOf(info2)) ?? rip,
    request.name,
    'the vector in SW_EXITINFO2 was read, its type or valid bit was not',
  );
}
