// The JSON Schema of a host file (draft 2020-12), as docs/host.schema.json publishes it and `cbit host --schema` prints it.

import { type Fields, guestFields, hostFields } from './fields.ts';
import type { Schema } from './kinds.ts';

function object(fields: Fields, more: Readonly<Record<string, Schema>>, required: readonly string[]): Schema {
  const properties = Object.entries(fields).map(([key, { kind, description, default: without }]) => [
    key,
    { description, ...kind.schema, ...(without === undefined ? {} : { default: without }) },
  ]);
  return {
    type: 'object',
    properties: { ...Object.fromEntries(properties), ...more },
    required,
    additionalProperties: false,
  };
}

const requiredOf = (fields: Fields): string[] => Object.keys(fields).filter((key) => fields[key]?.required);

export function hostSchema(): Schema {
  const guests = {
    description: 'The guests. Those with "autostart": false wait for `create NAME`.',
    type: 'array',
    items: { $ref: '#/$defs/guest' },
  };
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    $id: 'urn:cbit:host',
    title: 'A host and its guests, for cbit host',
    description: 'Names of files are relative to the file that they stand in; guests/NAME is also looked for in the package.',
    ...object(hostFields, { guests }, [...requiredOf(hostFields), 'guests']),
    $defs: {
      guest: {
        title: 'A guest',
        ...object(guestFields, {}, requiredOf(guestFields)),
        anyOf: [{ required: ['image'] }, { required: ['bios'] }],
      },
    },
  };
}
