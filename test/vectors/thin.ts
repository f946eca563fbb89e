// Thins a vector file for the repository: of each section so many cases, evenly spread, with each status that occurs among them.
//   node --import tsx test/vectors/thin.ts CASES IN.x86vec.gz OUT.x86vec.gz

import { readFileSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { type Case, MAGIC, type Section, sections } from './format.ts';

function sample(cases: readonly Case[], count: number): Case[] {
  const chosen = new Set<Case>();
  for (const c of cases) if (![...chosen].some(({ status }) => status === c.status)) chosen.add(c);
  for (let n = 0; n < count && chosen.size < count; n++) chosen.add(cases[Math.floor((n * cases.length) / count)] as Case);
  return cases.filter((c) => chosen.has(c));
}

const mode: Readonly<Record<Section['bits'], number>> = { 64: 0, 32: 1 << 4, 16: 2 << 4 };

function encode({ name, bits, approximate, cases }: Section): Buffer {
  const header = Buffer.alloc(name.length + 10);
  header.writeUInt8(name.length, 0);
  header.write(name, 1, 'latin1');
  header.writeUInt8(mode[bits] | (approximate ? 1 : 0), name.length + 1);
  header.writeUInt32LE(cases.length, name.length + 2);
  header.writeUInt32LE(
    cases.reduce((sum, { raw }) => sum + raw.length, 0),
    name.length + 6,
  );
  return Buffer.concat([header, ...cases.map(({ raw }) => raw)]);
}

const [count = '', from = '', to = ''] = process.argv.slice(2);
const thinned = [...sections(readFileSync(from))].map((section) => encode({ ...section, cases: sample(section.cases, Number(count)) }));
const head = Buffer.alloc(MAGIC.length + 4);
head.write(MAGIC, 0, 'latin1');
head.writeUInt32LE(thinned.length, MAGIC.length);
writeFileSync(to, gzipSync(Buffer.concat([head, ...thinned]), { level: 9 }));
