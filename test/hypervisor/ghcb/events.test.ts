// Every row of the table of events, from inside a guest: its successes, each refusal that it documents, and what follows from the table
// alone. A row without a case for something that it documents fails. GHCB specification 4.1 and table 7.

import { describe, expect, it } from 'vitest';
import { naeEvents, type NaeEvent, type Refusal } from '../../../src/hypervisor/ghcb/nae-events.ts';
import { GHCB_BUFFER, Ghcb, type GhcbField } from '../../../src/arch/ghcb.ts';
import type { GuestOptions } from '../../../src/cbit.ts';
import { type Case, type EventCases, eventCases, message } from './cases.ts';
import { correspond, type Correspondence, type Message, type Reply } from './messenger.ts';
import { fieldOf, type Request, validFields } from './page-bytes.ts';

const codes: Readonly<Record<Refusal['answer'], readonly [bigint, bigint]>> = {
  '#GP': [1n, 0x8000_0b0dn],
  '2/3': [2n, 3n],
  '2/5': [2n, 5n],
};
const casesOf = (event: NaeEvent): EventCases => eventCases[event.name] ?? { succeeds: [] };
const list = (cases: Case | readonly Case[] | undefined): readonly Case[] => (cases === undefined ? [] : 'code' in cases ? [cases] : cases);

/** What rows document and nothing shows. */
function gaps(events: readonly NaeEvent[], of: (event: NaeEvent) => EventCases): string[] {
  return events.flatMap((event) => {
    const { succeeds, refuses = {} } = of(event);
    const { needsIf } = event;
    return [
      ...(succeeds.length === 0 ? [`${event.name}: success`] : []),
      ...(event.refuses ?? []).filter(({ when }) => list(refuses[when]).length === 0).map(({ when }) => `${event.name}: ${when}`),
      ...(needsIf !== undefined && !succeeds.some(({ fields }) => fields?.[needsIf.field] !== undefined)
        ? [`${event.name}: ${needsIf.when}`]
        : []),
    ];
  });
}

it('every row has a case for success and for each refusal, and no case is of anything else', () => {
  expect(gaps(naeEvents, casesOf)).toEqual([]);
  expect(Object.keys(eventCases).sort()).toEqual(naeEvents.map(({ name }) => name).sort());
  for (const event of naeEvents) {
    const documented = (event.refuses ?? []).map(({ when }) => when);
    expect(Object.keys(casesOf(event).refuses ?? {}).filter((when) => !documented.includes(when))).toEqual([]);
  }
});

it('a row without a case is found', () => {
  const row: NaeEvent = { ...naeEvents[0]!, name: 'new', refuses: [{ answer: '2/5', when: 'it is Monday' }] };
  expect(gaps([row], casesOf)).toEqual(['new: success', 'new: it is Monday']);
});

/** Bytes of the page that are not as the guest left them, besides the bitmap and these fields and the buffer. */
function strangers({ sent, page }: Reply, fields: readonly GhcbField[], bufferToo: boolean): number[] {
  const ours = new Set(fields.flatMap((field) => Array.from({ length: 8 }, (_, n) => Ghcb.layout[field].offset + n)));
  const changed = Array.from(page.keys()).filter((at) => page[at] !== sent[at]);
  return changed.filter(
    (at) => !ours.has(at) && !(at >= 0x3f0 && at < 0x400) && !(bufferToo && at >= GHCB_BUFFER.start && at < GHCB_BUFFER.end),
  );
}

const infos = (page: Uint8Array): [bigint, bigint] => [fieldOf(page, 'swExitInfo1'), fieldOf(page, 'swExitInfo2')];

function refused(reply: Reply | undefined, answer: readonly [bigint, bigint]): void {
  expect(reply).toBeDefined();
  expect(infos(reply!.page)).toEqual(answer);
  expect(validFields(reply!.page)).toEqual(['swExitInfo1', 'swExitInfo2']);
  expect(strangers(reply!, ['swExitInfo1', 'swExitInfo2'], false)).toEqual([]);
}

const send = (one: Case, options: Partial<GuestOptions> = {}): Correspondence =>
  correspond([...(one.before ?? []), message(one)], { ...one.options, ...options });

/** Many messages in one guest, each of which must be refused alike. */
function allRefused(messages: readonly Message[], answer: readonly [bigint, bigint], options: Partial<GuestOptions> = {}): void {
  const { replies } = correspond(messages, options);
  expect(replies).toHaveLength(messages.length);
  for (const reply of replies) refused(reply, answer);
}

const titled = (event: NaeEvent, what = ''): string => `${event.name} (${event.code.toString(16).toUpperCase()}h)${what && `: ${what}`}`;
/** The first success of a row, on which what follows from the table alone is tried. */
const exampleOf = (event: NaeEvent): Case => casesOf(event).succeeds[0]!;
const requestOf = (one: Case): Request => (message(one) as { page: Request }).page;
const rows = naeEvents.map((event) => ({ title: titled(event), event, example: exampleOf(event) }));
/** Those after which the guest goes on. */
const lasting = rows.filter(({ event, example }) => event.ends === undefined && example.outcome === undefined);

const without = (missing: GhcbField, of: Case): Message => {
  const page = requestOf(of);
  expect(page.fields[missing]).toBeDefined();
  const { [missing]: _, ...fields } = page.fields;
  return { page: { ...page, fields } };
};

describe('an event is done', () => {
  const successes = naeEvents.flatMap((event) => casesOf(event).succeeds.map((one) => ({ title: titled(event, one.says), event, one })));
  const going = successes.filter(({ one }) => one.outcome === undefined);
  const ending = successes.filter(({ one }) => one.outcome !== undefined);

  it.each(going)('$title', ({ event, one }) => {
    const seen = send(one);
    const { result, replies, output } = seen;
    expect(result.outcome).toEqual({ kind: 'halted', interruptsEnabled: false });
    expect(result.warnings).toEqual([]);
    const reply = replies.at(-1)!;
    const { page } = reply;
    const returned = [...event.returns, 'swExitInfo1', 'swExitInfo2'] as const;
    const given = Object.keys(one.gives ?? {}) as GhcbField[];
    expect(infos(page)).toEqual([0n, one.result ?? 0n]);
    expect(validFields(page)).toEqual([...returned].sort());
    expect(Object.fromEntries(given.map((name) => [name, fieldOf(page, name)]))).toEqual(one.gives ?? {});
    expect(strangers(reply, returned, one.bufferThen !== undefined)).toEqual([]);
    expect([...page.subarray(0x800, 0x800 + (one.bufferThen?.length ?? 0))]).toEqual(one.bufferThen ?? []);
    expect(output).toEqual(one.prints ?? []);
    expect(reply.nmis).toBe(one.nmis ?? 0);
    one.also?.({ ...seen, page });
  });

  it.each(ending)('$title', ({ one }) => {
    const seen = send(one);
    expect(seen.result.outcome).toEqual(one.outcome);
    expect(seen.result.warnings).toEqual([]);
    one.also?.(seen);
  });

  it.each(lasting.filter(({ event }) => event.since === undefined))('in version 1, too: $title', ({ example }) => {
    const { replies } = send({ ...example, version: 1 }, { ghcbVersion: 1 });
    expect(infos(replies.at(-1)!.page)).toEqual([0n, example.result ?? 0n]);
  });

  // The words that choose between the rows of a code are never among these.
  const zeros = lasting.flatMap(({ event, example }) =>
    (['info1', 'info2'] as const)
      .filter((name) => event[name] === undefined)
      .map((name) => ({ title: titled(event, name), event, example, name })),
  );
  it.each(zeros)('with a warning if what must be 0 is not: $title', ({ event, example, name }) => {
    const { result, replies } = send({ ...example, [name]: 0x1234n });
    expect(infos(replies.at(-1)!.page)[0]).toBe(0n);
    expect(result.warnings).toEqual([expect.stringContaining(`GHCB event ${event.name}`)]);
  });
});

describe('an event is refused', () => {
  const refusals = naeEvents.flatMap((event) =>
    (event.refuses ?? []).flatMap(({ answer, when }) =>
      list(casesOf(event).refuses?.[when]).map((one) => ({ title: `${answer}: ${titled(event, when)}: ${one.says}`, answer, one })),
    ),
  );
  it.each(refusals)('$title', ({ answer, one }) => {
    const { replies, output } = send(one);
    refused(replies.at(-1), codes[answer]);
    expect(output).toEqual([]);
  });

  const needed = naeEvents.flatMap((event) =>
    event.needs.map((field) => ({ title: titled(event, field), field, example: exampleOf(event) })),
  );
  it.each(needed)('2/4 without a field that it needs: $title', ({ field, example }) => {
    allRefused([without(field, example)], [2n, 4n], example.options);
  });

  const conditional = naeEvents.flatMap((event) =>
    event.needsIf === undefined
      ? []
      : [{ title: titled(event, `${event.needsIf.field} if ${event.needsIf.when}`), event, field: event.needsIf.field }],
  );
  it.each(conditional)('2/4 without a field that it needs for these values: $title', ({ event, field }) => {
    const of = casesOf(event).succeeds.find(({ fields }) => fields?.[field] !== undefined)!;
    allRefused([without(field, of)], [2n, 4n], of.options);
  });

  it.each(rows)('2/4 without SW_EXITCODE, SW_EXITINFO1 or SW_EXITINFO2: $title', ({ example }) => {
    const messages = (['swExitCode', 'swExitInfo1', 'swExitInfo2'] as const).map((missing) => without(missing, example));
    allRefused(messages, [2n, 4n], example.options);
  });

  it.each(rows)('2/2 with a usage that is not 0: $title', ({ example }) => {
    allRefused(
      [1, 0x8000_0000].map((usage) => ({ page: { ...requestOf(example), usage } })),
      [2n, 2n],
      example.options,
    );
  });

  it.each(rows)('2/6 with a bit of SW_EXITCODE[63:32]: $title', ({ event, example }) => {
    const page = requestOf(example);
    const wide = (bit: bigint): Message => ({ page: { ...page, fields: { ...page.fields, swExitCode: BigInt(event.code) | bit } } });
    allRefused([wide(1n << 32n), wide(1n << 63n)], [2n, 6n], example.options);
  });

  it.each(rows.filter(({ event }) => event.since === 2))('2/6 of a hypervisor of version 1: $title', ({ example }) => {
    allRefused([message(example)], [2n, 6n], { ...example.options, ghcbVersion: 1 });
  });

  it.each(rows.filter(({ event }) => event.offered !== undefined))('2/6 in a run that has not asked for it: $title', ({ example }) => {
    allRefused([message(example)], [2n, 6n], { intercepts: [] });
  });
});

// biome-ignore format: a table
const unlisted: readonly (readonly [code: bigint, what: string])[] = [
  [0x403n, 'VMGEXIT itself'], [0x400n, 'a nested page fault'], [0x60n, 'an interrupt'], [0x7fn, 'shutdown'], [0x78n, 'HLT'],
  [0x51n, '#AC, which the guest forwards without asking'], [0x41n, '#DB'], [0x00n, 'CR0 read'], [0x74n, 'IRET'], [0x8dn, 'XSETBV'],
  [0x26n, 'DR6 read'], [0x8000_0000n, 'no event'], [0x8000_0006n, 'no event'], [0x8000_0010n, 'page state change'], [0x8000_0011n, 'SNP guest request'],
  [0x8000_0012n, 'SNP extended guest request'], [0x8000_0013n, 'SNP AP creation'], [0x8000_0014n, '#HV doorbell page'], [0x8000_0015n, '#HV IPI'],
  [0x8000_0016n, '#HV timer'], [0x8000_0018n, 'run VMPL'], [0x8000_0019n, 'SEV-TIO guest request'], [0x8000_001an, 'of a later version'],
  [0xffff_ffff_ffff_ffffn, 'exit code INVALID'], [0xffff_ffff_ffff_fffen, 'exit code BUSY'],
];

describe('any page', () => {
  it('2/6 for what is no event here', () => {
    const messages = unlisted.map(
      ([swExitCode]): Message => ({
        page: { fields: { swExitCode, swExitInfo1: 0n, swExitInfo2: 0n, rax: 0n, rcx: 0n, rdx: 0n, rbx: 0n, swScratch: 0x20_0800n } },
      }),
    );
    allRefused(messages, [2n, 6n]);
  });

  const wbinvd = { swExitCode: 0x89n, swExitInfo1: 0n, swExitInfo2: 0n };

  it('of a version that the hypervisor has not is taken as its highest, with a warning', () => {
    const outside = { swExitCode: 0x7bn, swExitInfo1: 0x00e9_0214n, swExitInfo2: 1n, swScratch: 0x30_0000n };
    const of = (ghcbVersion: 1 | 2) => correspond([{ page: { fields: outside, version: 7 } }], { ghcbVersion });
    const [first, second] = [of(1), of(2)];
    expect(infos(first.replies[0]!.page)).toEqual([0n, 0n]);
    expect(infos(second.replies[0]!.page)).toEqual([2n, 3n]);
    expect(first.result.warnings).toEqual(['GHCB page of protocol version 7: taken as version 1']);
    expect(second.result.warnings).toEqual(['GHCB page of protocol version 7: taken as version 2']);
  });

  it.each([0n, 0x40_0000n, 0xffff_ffff_ffff_f000n])('at 0x%s, where there is none, is ignored', (at) => {
    const { replies, result } = correspond([{ page: { fields: wbinvd }, at }]);
    expect(replies[0]!.page).toEqual(replies[0]!.sent);
    expect(replies[0]!.msr).toBe(at);
    expect(result.warnings).toEqual([expect.stringContaining('not a page of the guest’s memory'.replace('’', "'"))]);
  });
});
