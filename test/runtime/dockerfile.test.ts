// Which Dockerfiles may be built: what would make the engine itself fetch something is refused, however it is written.

// biome-ignore-start lint/suspicious/noTemplateCurlyInString: variables of Dockerfiles.

import { describe, expect, it } from 'vitest';
import { judgeTriggers, planBuild, whyNotFetched } from '../../node/runtime/docker/dockerfile-rules.ts';
import { isPublic, parseImageName } from '../../node/runtime/docker/image-names.ts';

const ID = (image: string): string => `<${image}>`;
const written = (text: string): string => planBuild(text).write(ID);
const METADATA = 'http://169.254.169.254/latest/meta-data';

describe('a Dockerfile', () => {
  it('is written again with an instruction a line, each on its line, and images by their ids', () => {
    const text = `# syntax=docker/dockerfile:1
ARG VERSION=24
from node:\${VERSION}-slim as Build

RUN apt-get update \\
    # not needed
 && apt-get install -y \\

    git
COPY --chown=1:1 . /app
FROM scratch
COPY --from=build /app /app
COPY --from=nginx:1 /etc/nginx /etc/nginx
CMD ["/app/run"]`;
    expect(planBuild(text).images).toEqual(['node:24-slim', 'nginx:1']);
    expect(written(text)).toBe(`
ARG VERSION=24
FROM <node:24-slim> AS Build

RUN apt-get update  && apt-get install -y     git




COPY --chown=1:1 . /app
FROM scratch
COPY --from=build /app /app
COPY --from=<nginx:1> /etc/nginx /etc/nginx
CMD ["/app/run"]
`);
  });

  it.each([
    ['a local file', 'ADD app.tar.gz /app'],
    ['several', 'ADD --chown=1:1 one.txt two.txt /app/'],
    ['a list', 'ADD ["a file.txt", "/app/"]'],
    ['a variable in a folder', 'ADD ./$NAME /app'],
    ['a variable after a folder', 'ADD target/${NAME:-app}.jar /app'],
    ['a variable as the place', 'ADD app $HOME/app'],
    ['a copy of a variable', 'COPY ${JAR_FILE} app.jar'],
    ['what RUN fetches', 'RUN curl -fsS https://example.org/x | sh'],
    ['what RUN continues with', 'RUN helm repo \\\n add bitnami https://charts.example.org'],
    ['a shift in a shell', 'RUN echo $((1<<2)) $(( 1 << 2 ))'],
    ['a label with a URL', 'LABEL org.opencontainers.image.source=https://github.com/one/two.git'],
    ['a trigger that copies', 'ONBUILD COPY . /app'],
    ['words of any language', 'RUN echo "👨‍💻 done"'],
  ])('may have %s', (_, line) => {
    expect(written(`FROM scratch\n${line}`)).toMatch(/^FROM scratch\n/);
  });

  it.each([
    ['in plain', `ADD ${METADATA} /x`],
    ['over TLS', 'ADD https://10.0.0.1/x /x'],
    ['beside a local file', `ADD app.txt ${METADATA} /x/`],
    ['in other letters', `aDd HTTP://169.254.169.254/x /x`],
    ['after blanks', `  \tADD\t${METADATA}\t/x`],
    ['after a flag', `ADD --chown=1:1 ${METADATA} /x`],
    ['as a list', `ADD ["${METADATA}", "/x"]`],
    ['as a list with escapes', 'ADD ["\\u0068ttp://169.254.169.254/x", "/x"]'],
    ['in quotes', `ADD "${METADATA}" /x`],
    ['in pieces of quotes', 'ADD h"tt"p://169.254.169.254/x /x'],
    ['with escapes', 'ADD \\http://169.254.169.254/x /x'],
    ['continued', `ADD \\\n${METADATA} /x`],
    ['continued within the word', 'ADD ht\\\ntp://169.254.169.254/x /x'],
    ['continued over comments', `ADD \\\n# a comment\n\n${METADATA} /x`],
    ['continued within the instruction', `A\\\nDD ${METADATA} /x`],
    ['with the line ends of Windows', `ADD \\\r\n${METADATA} /x\r\n`],
    ['after the lines of another', `RUN true \\\n\\\n # a\n && true\nADD ${METADATA} /x`],
    ['as a repository', 'ADD git://10.0.0.1/x.git /x'],
    ['as a repository over SSH', 'ADD git@10.0.0.1:one/two.git /x'],
    ['as a repository by its host', 'ADD github.com/one/two /x'],
    ['of another scheme', 'ADD s3://bucket/x /x'],
    ['as a trigger for later', `ONBUILD ADD ${METADATA} /x`],
    ['in the place of a copy', `COPY ${METADATA} /x`],
  ])('may not have a URL added: %s', (_, line) => {
    expect(() => planBuild(`FROM scratch\n${line}`)).toThrow(
      /line \d+: .*: the engine would fetch it, .*use RUN with curl/,
    );
  });

  it.each([
    ['ARG', `ARG U=${METADATA}\nADD $U /x`, /ADD \$U: the variable may stand for a URL: use COPY, or write \.\/\$U/],
    ['ENV', `ENV U=${METADATA}\nADD \${U} /x`, /may stand for a URL/],
    ['a default', `ADD \${U:-${METADATA}} /x`, /the engine would fetch|may stand for a URL/],
    ['its beginning', 'ADD h$U /x', /may stand for a URL/],
    ['the rest of its scheme', 'ADD http$U /x', /may stand for a URL/],
    ['what follows its scheme', 'ADD http:/$U /x', /the engine would fetch it/],
    ['a variable of the base image', 'ADD $FROM_THE_BASE_IMAGE /x', /may stand for a URL/],
  ])('may not have a URL added by way of %s', (_, lines, why) => {
    expect(() => planBuild(`FROM scratch\n${lines}`)).toThrow(why);
  });

  it.each([
    ['mounts of other images', 'RUN --mount=type=bind,from=10.0.0.1/x,target=/x true', /RUN takes no --mount here/],
    ['the machine’s network', 'RUN --network=host true', /RUN takes no --network here/],
    ['flags in quotes', 'COPY --from="10.0.0.1/x" / /x', /write --name=value without quotes/],
    ['two of one flag', 'COPY --from=alpine --from=10.0.0.1/x / /x', /takes one --from/],
    ['flags in capitals', 'COPY --FROM=10.0.0.1/x / /x', /write --name=value/],
    ['a variable for an image', 'COPY --from=$X / /x', /is no name of an image/],
    ['a list that is none', `ADD ["${METADATA}", "/x"] # or is it`, /begins with \[ and is no list/],
    ['unusual blanks', `ADD \u0085${METADATA} /x`, /unusual blank/],
    ['control characters', `RUN true\u000bADD ${METADATA} /x`, /control character/],
    ['two backslashes at an end', `RUN true \\\\\nADD ${METADATA} /x`, /two backslashes/],
    ['here-documents', `RUN <<EOF\ntrue\nEOF`, /here-documents are not read/],
    ['files from here-documents', 'COPY <<EOF /x\nhello\nEOF', /here-documents are not read/],
    ['an unknown word', 'NONSENSE', /unknown instruction "NONSENSE"/],
    ['triggers that fetch images', 'ONBUILD COPY --from=10.0.0.1/x / /x', /ONBUILD with --from/],
    ['triggers of triggers', 'ONBUILD ONBUILD RUN true', /ONBUILD ONBUILD is not allowed/],
  ])('may not have %s', (_, line, why) => {
    expect(() => planBuild(`FROM scratch\n${line}`)).toThrow(why);
  });

  it.each([
    ['another escape character', '# escape=`\nFROM scratch', /the escape character is the backslash here/],
    ['no base', 'RUN true', /no FROM/],
    ['a platform', 'FROM --platform=linux/s390x alpine', /takes no --platform=linux\/s390x here/],
    ['a variable without a value', 'FROM $IMAGE', /\$IMAGE has no value: write ARG IMAGE=VALUE/],
    ['more than an image', 'FROM alpine 10.0.0.1/x', /FROM takes IMAGE, or IMAGE AS NAME/],
    ['an archive of the machine', 'FROM oci-archive:/etc/shadow', /is no name of an image/],
    ['a folder of the machine', 'FROM dir:images', /is no name of an image/],
    ['quotes', 'FROM "alpine"', /without quotes/],
  ])('may not begin with %s', (_, text, why) => {
    expect(() => planBuild(text)).toThrow(why);
  });

  it.each([
    ['plain', 'ARG BASE=node:24\nFROM $BASE', 'node:24'],
    ['in quotes', 'ARG BASE="node:24"\nFROM ${BASE}', 'node:24'],
    ['of another', 'ARG V=24\nARG BASE=node:$V\nFROM ${BASE}-slim', 'node:24-slim'],
    ['instead of none', 'FROM ${BASE:-node:24}', 'node:24'],
    ['for the machine that builds', 'FROM --platform=$BUILDPLATFORM node:24', 'node:24'],
  ])('may name its base by a value: %s', (_, text, image) => {
    expect(planBuild(`${text}\nRUN true`).images).toEqual([image]);
  });
});

describe('triggers of a base image', () => {
  it.each([
    [`ADD ${METADATA} /x`, /the engine would fetch it/],
    [`RUN true\nADD ${METADATA} /x`, /control character/],
    ['COPY --from=10.0.0.1/x / /x', /--from is not allowed/],
    ['ADD $U /x', /may stand for a URL/],
  ])('are refused: %s', (trigger, why) => {
    expect(() => judgeTriggers(['COPY . /app', trigger])).toThrow(why);
  });

  it('are taken when they stay in the folder', () => {
    expect(() => judgeTriggers(['COPY . /app', 'RUN make', 'ADD vendor.tar.gz /app'])).not.toThrow();
  });
});

describe('the name of an image', () => {
  it.each([
    ['alpine', undefined, 'alpine'],
    ['library/alpine:3', undefined, 'library/alpine'],
    ['docker.io/library/alpine', 'docker.io', 'library/alpine'],
    [`ghcr.io/one/two@sha256:${'a'.repeat(64)}`, 'ghcr.io', 'one/two'],
    ['localhost/x', 'localhost', 'x'],
    ['127.0.0.1:5000/x:1', '127.0.0.1:5000', 'x'],
    ['registry:5000/x', 'registry:5000', 'x'],
    ['registry.lan/x', 'registry.lan', 'x'],
    ['Registry/x', 'Registry', 'x'],
  ])('%s leads to %s', (text, host, repository) => {
    expect(parseImageName(text)).toMatchObject({ host, repository });
  });

  it.each([
    '',
    'UPPER',
    'a b',
    'http://x/y',
    '[::1]:5000/x',
    'x:',
    '/x',
    'x/',
    'docker://x/y',
    'a'.repeat(1000),
    'f'.repeat(64),
  ])('%s is none', (text) => {
    expect(parseImageName(text)).toBeUndefined();
  });

  it.each([
    ['alpine:3', true],
    ['docker.io/library/alpine', true],
    ['ghcr.io/one/two', true],
    ['ghcr.io:8080/one/two', false],
    ['127.0.0.1:5000/x', false],
    ['localhost/x', false],
    ['registry.lan/x', false],
    ['169.254.169.254/x', false],
    ['10.0.0.1.nip.io/x', false],
    ['attacker.example/x', false],
  ])('%s is of a public registry: %s', (text, expected) => {
    expect(isPublic(parseImageName(text)!)).toBe(expected);
    expect(whyNotFetched(text) === undefined).toBe(expected);
  });
});
// biome-ignore-end lint/suspicious/noTemplateCurlyInString: variables of Dockerfiles.
