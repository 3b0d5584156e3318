// Every role assignment there is. Whoever needs the identity gets it from here, when all roles have been assigned.
@description('Required. Region.')
param location string

@description('Required. The identity the app runs as.')
param identityName string

@description('Required. Account of blobs, queues and task hub.')
param dataAccountName string

@description('Required. Application Insights.')
param componentName string

@description('Required. Object id of the user who sends the load; empty for none.')
param operatorPrincipalId string

// Ids of built-in roles are the same everywhere. Without the Table role the durable extension gets 403 AuthorizationPermissionMismatch,
// and the host indexes no function at all.
var storageRoles = [
  {
    name: 'Storage Account Contributor'
    id: '17d1049b-9a84-46fb-8f53-869881c3d3ab'
    why: 'The blob trigger reads the properties of the account and of its services.'
  }
  {
    name: 'Storage Blob Data Owner'
    id: 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
    why: 'Host: locks, keys and receipts. Handler: input and results. Durable: leases and large messages.'
  }
  {
    name: 'Storage File Data Privileged Contributor'
    id: '69566ab7-960f-475b-8e7c-b3118f30c6bd'
    why: 'Part of the set the host is documented with; the content share itself is in another account, by key.'
  }
  {
    name: 'Storage Queue Data Contributor'
    id: '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
    why: 'The blob trigger queues what it found and what failed; Durable, all its messages.'
  }
  {
    name: 'Storage Table Data Contributor'
    id: '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
    why: 'Durable: instances and histories.'
  }
]

var telemetryRole = {
  name: 'Monitoring Metrics Publisher'
  id: '3913510d-42f4-4e42-8a64-420c390055eb'
  why: 'Host and handler send telemetry as the identity; keys are refused.'
}

// Only what load and re-drive take.
var operatorRoles = empty(operatorPrincipalId)
  ? []
  : [
      {
        name: 'Storage Blob Data Contributor'
        id: 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
        why: 'Sends blobs and reads results.'
      }
      {
        name: 'Storage Queue Data Contributor'
        id: '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
        why: 'Looks into the poison queue and moves its messages back.'
      }
    ]

resource data 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: dataAccountName
}

resource component 'Microsoft.Insights/components@2020-02-02' existing = {
  name: componentName
}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: identityName
  location: location
}

// A name must be known before the identity has a principal id; its resource id is.
resource storageAssignment 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in storageRoles: {
    name: guid(data.id, identity.id, role.id)
    scope: data
    properties: {
      principalId: identity.properties.principalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.id)
      description: '${role.name}: ${role.why}'
    }
  }
]

resource telemetryAssignment 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(component.id, identity.id, telemetryRole.id)
  scope: component
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', telemetryRole.id)
    description: '${telemetryRole.name}: ${telemetryRole.why}'
  }
}

resource operatorAssignment 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in operatorRoles: {
    name: guid(data.id, operatorPrincipalId, role.id)
    scope: data
    properties: {
      principalId: operatorPrincipalId
      principalType: 'User'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.id)
      description: '${role.name}: ${role.why}'
    }
  }
]

output identityId string = identity.id
output identityClientId string = identity.properties.clientId
