// One EP1 Linux instance for both labs, its storage, its telemetry, and every right it needs.
targetScope = 'resourceGroup'

@description('Optional. First part of the names of app, plan, identity and telemetry.')
@minLength(3)
@maxLength(20)
param name string = 'incidentlabs'

@description('Optional. Region of everything.')
param location string = resourceGroup().location

@description('Optional. The OOM lab\'s settings that the app begins with.')
@allowed([
  'buffering'
  'streaming'
])
param preset string = 'buffering'

@description('Optional. Object id of the user who sends the load (az ad signed-in-user show --query id): shared keys are off, so this takes a role.')
param operatorPrincipalId string = ''

@description('Required. Address ranges (CIDR) that may call the HTTP functions, which ask for no key. 0.0.0.0/0 admits everyone.')
param allowedAddresses string[]

@description('Optional. GB of telemetry a day that the workspace takes. What comes after it is lost, and costs nothing.')
@minValue(1)
param dailyQuotaGb int = 1

// Accounts have 24 characters, and nobody else's name.
var token = uniqueString(resourceGroup().id, name)
var dataAccountName = 'data${token}'

module storage 'modules/storage.bicep' = {
  name: 'storage'
  params: {
    location: location
    dataAccountName: dataAccountName
    contentAccountName: 'content${token}'
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  params: {
    location: location
    name: name
    dailyQuotaGb: dailyQuotaGb
  }
}

module access 'modules/access.bicep' = {
  name: 'access'
  params: {
    location: location
    identityName: '${name}-identity'
    dataAccountName: storage.outputs.dataAccountName
    componentName: monitoring.outputs.componentName
    operatorPrincipalId: operatorPrincipalId
  }
}

// Takes its identity from `access`, and so cannot start before that has assigned all roles.
module app 'modules/plan-and-app.bicep' = {
  name: 'app'
  params: {
    location: location
    appName: '${name}-${token}'
    planName: '${name}-plan'
    identityId: access.outputs.identityId
    identityClientId: access.outputs.identityClientId
    dataAccountName: storage.outputs.dataAccountName
    contentAccountName: storage.outputs.contentAccountName
    contentShareName: storage.outputs.contentShareName
    componentName: monitoring.outputs.componentName
    workspaceName: monitoring.outputs.workspaceName
    preset: preset
    allowedAddresses: allowedAddresses
  }
}

@description('For az functionapp.')
output appName string = app.outputs.appName

@description('For lab load replay --url.')
output appUrl string = app.outputs.appUrl

@description('For az role assignment and az storage.')
output dataAccountName string = storage.outputs.dataAccountName

@description('For lab load oom --storage-url.')
output blobEndpoint string = storage.outputs.blobEndpoint

@description('For az monitor app-insights query --apps.')
output componentName string = monitoring.outputs.componentName

@description('For az monitor log-analytics query --workspace.')
output workspaceCustomerId string = monitoring.outputs.workspaceCustomerId
