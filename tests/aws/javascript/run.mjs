// The AWS SDK for JavaScript, version 3, over every operation of App Runner's model, against a running platform.
// Arguments: the directory that has the SDK in node_modules, and an image that serves. Or the directory, --errors and a
// file of `errors.py`: then each row of it is called and must be refused as it says.
// Endpoint, region and credentials come from the environment, as the SDK reads them.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [directory, image, file] = process.argv.slice(2);
const sdk = createRequire(`${directory}/`)("@aws-sdk/client-apprunner");
const client = new sdk.AppRunnerClient({ maxAttempts: 1 });
const MESSAGE_CHARS_MAX = 600;
const SETTLED_MS_MAX = 60_000;
const PREFIX = "arn:aws:apprunner:us-east-1:123456789012:";
const called = new Set();

async function good(operation, input = {}) {
  const answer = await client.send(new sdk[`${operation}Command`](input));
  assert.equal(answer.$metadata.httpStatusCode, 200);
  assert.match(answer.$metadata.requestId, /^[0-9a-f-]{36}$/);
  called.add(operation);
  return answer;
}

async function refused(by, operation, fault, input, words) {
  try {
    await by.send(new sdk[`${operation}Command`](input));
  } catch (error) {
    const server = fault === "InternalServiceErrorException";
    assert.ok(error instanceof sdk[fault], `${operation}: ${error.name}: ${error.message}`);
    assert.equal(error.name, fault);
    assert.equal(error.$fault, server ? "server" : "client");
    assert.equal(error.$metadata.httpStatusCode, server ? 500 : 400);
    assert.ok(error.message.includes(words), `${operation}: ${error.message}`);
    assert.ok(error.message.length > 0 && error.message.length <= MESSAGE_CHARS_MAX, `${operation}: ${error.message}`);
    return;
  }
  assert.fail(`${operation} was not refused`);
}

async function settled(ServiceArn, status) {
  const deadline = Date.now() + SETTLED_MS_MAX;
  for (;;) {
    const { Service } = await good("DescribeService", { ServiceArn });
    if (Service.Status !== sdk.ServiceStatus.OPERATION_IN_PROGRESS) {
      assert.equal(Service.Status, status);
      return Service;
    }
    assert.ok(Date.now() < deadline, "it does not settle");
    await new Promise((done) => setTimeout(done, 50));
  }
}

const source = (ImageIdentifier) => ({
  ImageRepository: { ImageIdentifier, ImageRepositoryType: "ECR" },
  AutoDeploymentsEnabled: false,
});

async function services() {
  const made = await good("CreateService", { ServiceName: "by-js", SourceConfiguration: source(image) });
  const { ServiceArn } = made.Service;
  assert.ok(made.Service.CreatedAt instanceof Date && Math.abs(made.Service.CreatedAt - Date.now()) < 600_000);
  await settled(ServiceArn, "RUNNING");
  const listed = await good("ListServices", { MaxResults: 20 });
  assert.ok(listed.ServiceSummaryList.some((row) => row.ServiceArn === ServiceArn));
  assert.equal(listed.NextToken, undefined);
  const { OperationId } = await good("StartDeployment", { ServiceArn });
  await settled(ServiceArn, "RUNNING");
  const pages = [];
  for await (const page of sdk.paginateListOperations({ client, pageSize: 1 }, { ServiceArn })) {
    pages.push(...page.OperationSummaryList);
  }
  called.add("ListOperations");
  assert.equal(pages.length, 2);
  assert.equal(pages[0].Id, OperationId);
  await good("UpdateService", { ServiceArn, InstanceConfiguration: { Cpu: "256", Memory: "512" } });
  await settled(ServiceArn, "RUNNING");
  await tags(ServiceArn);
  await domains(ServiceArn);
  await ingress(ServiceArn);
  await good("PauseService", { ServiceArn });
  await settled(ServiceArn, "PAUSED");
  await good("ResumeService", { ServiceArn });
  await settled(ServiceArn, "RUNNING");
  assert.equal((await good("ResumeService", { ServiceArn })).OperationId, undefined);
  await good("DeleteService", { ServiceArn });
  const gone = await settled(ServiceArn, "DELETED");
  assert.ok(gone.DeletedAt instanceof Date);
}

async function tags(ResourceArn) {
  await good("TagResource", { ResourceArn, Tags: [{ Key: "a", Value: "b" }] });
  assert.deepEqual((await good("ListTagsForResource", { ResourceArn })).Tags, [{ Key: "a", Value: "b" }]);
  await good("UntagResource", { ResourceArn, TagKeys: ["a"] });
}

async function domains(ServiceArn) {
  const DomainName = "js.example.com";
  await good("AssociateCustomDomain", { ServiceArn, DomainName, EnableWWWSubdomain: false });
  const shown = await good("DescribeCustomDomains", { ServiceArn });
  assert.equal(shown.CustomDomains[0].DomainName, DomainName);
  assert.deepEqual(shown.VpcDNSTargets, []);
  await good("DisassociateCustomDomain", { ServiceArn, DomainName });
}

async function ingress(ServiceArn) {
  const IngressVpcConfiguration = { VpcId: "vpc-0a1b2c3d4e5f60718", VpcEndpointId: "vpce-0a1b2c3d4e5f60718" };
  const made = await good("CreateVpcIngressConnection",
    { ServiceArn, VpcIngressConnectionName: "by-js", IngressVpcConfiguration });
  const { VpcIngressConnectionArn } = made.VpcIngressConnection;
  await good("DescribeVpcIngressConnection", { VpcIngressConnectionArn });
  await good("UpdateVpcIngressConnection", { VpcIngressConnectionArn, IngressVpcConfiguration });
  const { VpcIngressConnectionSummaryList } = await good("ListVpcIngressConnections", { Filter: { ServiceArn } });
  assert.equal(VpcIngressConnectionSummaryList.length, 1);
  await good("DeleteVpcIngressConnection", { VpcIngressConnectionArn });
}

async function resources() {
  const name = { AutoScalingConfigurationName: "by-js" };
  const scaling = (await good("CreateAutoScalingConfiguration", { ...name, MaxSize: 2 })).AutoScalingConfiguration;
  const { AutoScalingConfigurationArn } = scaling;
  assert.equal(scaling.Latest, true);
  await good("DescribeAutoScalingConfiguration", { AutoScalingConfigurationArn });
  assert.equal((await good("ListAutoScalingConfigurations", name)).AutoScalingConfigurationSummaryList.length, 1);
  const users = await good("ListServicesForAutoScalingConfiguration", { AutoScalingConfigurationArn });
  assert.deepEqual(users.ServiceArnList, []);
  const builtIn = `${PREFIX}autoscalingconfiguration/DefaultConfiguration`;
  await good("UpdateDefaultAutoScalingConfiguration", { AutoScalingConfigurationArn: builtIn });
  await good("DeleteAutoScalingConfiguration", { AutoScalingConfigurationArn });

  const watch = await good("CreateObservabilityConfiguration",
    { ObservabilityConfigurationName: "by-js", TraceConfiguration: { Vendor: "AWSXRAY" } });
  const { ObservabilityConfigurationArn } = watch.ObservabilityConfiguration;
  await good("DescribeObservabilityConfiguration", { ObservabilityConfigurationArn });
  await good("ListObservabilityConfigurations", {});
  await good("DeleteObservabilityConfiguration", { ObservabilityConfigurationArn });

  const hub = await good("CreateConnection", { ConnectionName: "by-js", ProviderType: "GITHUB" });
  assert.equal(hub.Connection.Status, sdk.ConnectionStatus.PENDING_HANDSHAKE);
  await good("ListConnections", { ConnectionName: "by-js" });
  await good("DeleteConnection", { ConnectionArn: hub.Connection.ConnectionArn });

  const made = await good("CreateVpcConnector",
    { VpcConnectorName: "by-js", Subnets: ["subnet-0a1b2c3d4e5f60718"] });
  const { VpcConnectorArn } = made.VpcConnector;
  await good("DescribeVpcConnector", { VpcConnectorArn });
  await good("ListVpcConnectors", {});
  await good("DeleteVpcConnector", { VpcConnectorArn });
}

async function refusals() {
  const rows = readFileSync(file, "utf8").trimEnd().split("\n").map((line) => line.split("\t"));
  const clients = new Map();
  for (const [operation, fault, region, words, input] of rows) {
    if (!clients.has(region)) clients.set(region, new sdk.AppRunnerClient({ region, maxAttempts: 1 }));
    await refused(clients.get(region), operation, fault, JSON.parse(input), words);
  }
  console.log(`${rows.length} refusals`);
}

/** Errors that are no part of the model come as the SDK's plain class, with their code. */
async function strangers() {
  const stranger = new sdk.AppRunnerClient({
    maxAttempts: 1, credentials: { accessKeyId: "AKIAIOSFODNN7EXAMPLE", secretAccessKey: "wrong" } });
  await assert.rejects(stranger.send(new sdk.ListServicesCommand({})), { name: "UnrecognizedClientException" });
  const forger = new sdk.AppRunnerClient({
    maxAttempts: 1, credentials: { accessKeyId: process.env.AWS_ACCESS_KEY_ID, secretAccessKey: "wrong" } });
  await assert.rejects(forger.send(new sdk.ListServicesCommand({})), { name: "InvalidSignatureException" });
  // A clock that is an hour wrong: the SDK learns the difference from the answer and its second try passes.
  const late = new sdk.AppRunnerClient({ maxAttempts: 2, systemClockOffset: -3_600_000 });
  await late.send(new sdk.ListServicesCommand({}));
}

if (image === "--errors") {
  await refusals();
} else {
  await services();
  await resources();
  await strangers();
  const operations = Object.keys(sdk).filter((name) => /^[A-Z]\w+Command$/.test(name) && name !== "$Command");
  const missing = operations.map((name) => name.replace(/Command$/, "")).filter((name) => !called.has(name));
  assert.deepEqual(missing, [], "operations without a call");
  console.log(`${called.size} operations`);
}
